"""moto, with what it lacks as a place for data: objects on the disk, and a memory that outlives the process."""

import os
from pathlib import Path

from local_aws.database import Database
from local_aws.wsgi import Application


def open_moto(data: Path, database: Database) -> tuple[Application, Application]:
    """Return the application for S3 and that for all other services, with what the last process has left."""
    # moto reads these when it is imported. A web page must not read what is here; and the first part of the host's
    # name is no bucket, it may be ours in a cluster.
    os.environ.update(MOTO_DISABLE_GLOBAL_CORS="true", S3_IGNORE_SUBDOMAIN_BUCKETNAME="true")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from local_aws.glue_catalogue import GlueCatalogue
    from local_aws.journal import Journal, Remembered
    from local_aws.s3_store import S3Store

    moto = DomainDispatcherApplication(create_backend_app)
    journal = Journal(database)
    glue = GlueCatalogue(database)
    s3 = S3Store(moto, data / "s3", database, journal)
    glue.load()
    s3.load(journal.replay(moto))
    return s3, Remembered(moto, journal, glue)

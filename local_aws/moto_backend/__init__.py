"""moto, with persistent data: the content of S3's objects in files, everything else that is kept in the database."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws.database import Database
from local_aws.protocols.wsgi import Application

if TYPE_CHECKING:
    from local_aws.moto_backend.s3_store import S3Store


def open_moto(data: Path, database: Database) -> "tuple[S3Store, Application]":
    """Return the application for S3 and that for all other services, with the data of the last process."""
    # moto reads these when it is imported. A web page must not read what is stored here; and the first part of the
    # host's name is no bucket, it may be this service's name in a cluster.
    os.environ.update(MOTO_DISABLE_GLOBAL_CORS="true", S3_IGNORE_SUBDOMAIN_BUCKETNAME="true")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from local_aws.moto_backend.glue_catalogue import GlueCatalogue
    from local_aws.moto_backend.journal import Journal, JournaledServices
    from local_aws.moto_backend.s3_store import S3Store

    moto = DomainDispatcherApplication(create_backend_app)
    journal = Journal(database)
    glue = GlueCatalogue(database)
    s3 = S3Store(moto, data / "s3", database, journal)
    glue.load()
    s3.load(journal.replay(moto))
    return s3, JournaledServices(moto, journal, glue)

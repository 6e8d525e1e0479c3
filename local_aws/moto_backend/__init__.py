"""moto, as far as it is offered, with persistent data: S3's objects in files, all else that is kept in the database."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws.database import Database
from local_aws.protocols.wsgi import Application

if TYPE_CHECKING:
    from local_aws.moto_backend.s3_store import S3Store


def open_moto(data: Path, database: Database) -> "tuple[Application, S3Store, Callable[[], None]]":
    """Open moto with what was stored.

    Returns:
        The application for all services that others do not answer for, its S3, and a function that has moto forget all,
        once the database is empty.
    """
    # moto reads these when it is imported. A web page must not read what is stored here; and the first part of the
    # host's name is no bucket, it may be this service's name in a cluster. The policies of AWS are there, as in every
    # account.
    os.environ.update(
        MOTO_DISABLE_GLOBAL_CORS="true",
        S3_IGNORE_SUBDOMAIN_BUCKETNAME="true",
        MOTO_IAM_LOAD_MANAGED_POLICIES="true",
    )
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from local_aws.moto_backend import backends
    from local_aws.moto_backend.gate import Gate
    from local_aws.moto_backend.glue_catalogue import GlueCatalogue
    from local_aws.moto_backend.journal import Journal, JournaledServices
    from local_aws.moto_backend.s3_store import S3Store

    backends.install()
    moto = DomainDispatcherApplication(create_backend_app)
    journal = Journal(database)
    glue = GlueCatalogue(database)
    s3 = S3Store(create_backend_app("s3"), data / "s3", database, journal)
    glue.load()
    s3.load(journal.replay(moto))

    def forget() -> None:
        backends.clear()
        glue.load()
        s3.load([])

    return Gate(s3, JournaledServices(moto, journal, glue)), s3, forget

"""The dataset catalogue and the ingestion log: the data sets to collect, and the result of every attempt.

Two tables in the database of Airflow's connection ``tlc_catalog`` (SQLite or MySQL): ``datasets``, filled from a CSV,
and ``ingestion_log``, one row for each attempt to collect a data set. Others are what :mod:`.threads`, :mod:`.checks`
and :mod:`.incidents` keep. An attempt belongs to a data set if its name, month and URL are those that the
catalogue has now. All times are UTC.

Set the connection with the variable ``AIRFLOW_CONN_TLC_CATALOG``; special characters in its URI are percent-encoded,
and parameters that begin with ``ssl_`` are passed to PyMySQL:

    sqlite:////folder/catalogue.db
    mysql://user:password@mysql:3306/tlc
    mysql://user:password@host.rds.amazonaws.com:3306/tlc?ssl_ca=/etc/ssl/rds/global-bundle.pem

With ``ssl_ca`` the connection is encrypted, and refused if the server's certificate is not signed by it for that host.

    python -m taxiway.catalogue migrate      create or upgrade the tables
    python -m taxiway.catalogue load FILE    load a CSV with the columns name, month, url
    python -m taxiway.catalogue show         list the data sets and their last attempts
"""

from taxiway.catalogue.database import (
    CONNECTION,
    MIGRATIONS,
    VERSION_TABLE,
    NotMigratedError,
    migrate,
    open_catalogue,
)
from taxiway.catalogue.loading import LoadReport, load
from taxiway.catalogue.log import begin_attempt, claim_content, complete_attempt, fail_attempt
from taxiway.catalogue.models import Attempt, Input, Status, datasets, ingestion_log, metadata
from taxiway.catalogue.queries import complete_months, find_dataset, last_complete, latest_attempts, running_attempts
from taxiway.core.databases import open_engine
from taxiway.core.dataset_list import CatalogueError, Dataset, read_list

__all__ = [
    "CONNECTION",
    "MIGRATIONS",
    "VERSION_TABLE",
    "Attempt",
    "CatalogueError",
    "Dataset",
    "Input",
    "LoadReport",
    "NotMigratedError",
    "Status",
    "begin_attempt",
    "claim_content",
    "complete_attempt",
    "complete_months",
    "datasets",
    "fail_attempt",
    "find_dataset",
    "ingestion_log",
    "last_complete",
    "latest_attempts",
    "load",
    "metadata",
    "migrate",
    "open_catalogue",
    "open_engine",
    "read_list",
    "running_attempts",
]

"""What the endpoint gives to each of its services."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws.database import Database
from local_aws.engines import Engines
from local_aws.execution import Runner
from local_aws.protocols.wsgi import Application

if TYPE_CHECKING:
    from local_aws.moto_backend.s3_store import S3Store

REGION = "us-east-1"


@dataclass(frozen=True)
class Context:
    """What the services share.

    Attributes:
        data: folder of everything that is stored.
        database: what must survive the process.
        engines: prepare Spark programs.
        runner: runs programs.
        moto: answers for all services that are not executed.
        s3: the objects, as files.
        state_s: seconds that a transitional state (STARTING, …) takes.
        running_s: seconds that an EMR cluster is RUNNING or WAITING at least before it ends by itself.
        query_memory: bytes of memory of one Athena query.
        max_queries: Athena queries that run at once.
    """

    data: Path
    database: Database
    engines: Engines
    runner: Runner
    moto: Application
    s3: "S3Store"
    state_s: float
    running_s: float
    query_memory: int
    max_queries: int

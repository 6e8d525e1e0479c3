"""What the endpoint gives to each of its services."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws.database import Database
from local_aws.engines import Engine
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
        engine: prepares Spark programs.
        runner: runs programs.
        state_s: seconds that a transitional state (STARTING, …) takes.
        s3: the objects.
        moto: all other services of moto.
        query_memory: bytes of memory of one Athena query.
        max_queries: Athena queries that run at once.
    """

    data: Path
    database: Database
    engine: Engine
    runner: Runner
    state_s: float
    s3: "S3Store"
    moto: Application
    query_memory: int
    max_queries: int

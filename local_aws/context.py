"""What the endpoint gives to each of its services."""

from dataclasses import dataclass
from pathlib import Path

from local_aws.database import Database
from local_aws.engines import Engines
from local_aws.execution import Runner

REGION = "us-east-1"


@dataclass(frozen=True)
class Context:
    """What the services share.

    Attributes:
        data: folder of everything that is stored.
        database: what must survive the process.
        engines: prepare Spark programs.
        runner: runs programs.
        state_s: seconds that a transitional state (STARTING, …) takes.
        running_s: seconds that an EMR cluster is RUNNING or WAITING at least before it ends by itself.
    """

    data: Path
    database: Database
    engines: Engines
    runner: Runner
    state_s: float
    running_s: float = 0

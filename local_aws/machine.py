"""What a service of the endpoint finds around it."""

from dataclasses import dataclass
from pathlib import Path

from local_aws.database import Database
from local_aws.engines import Engine

REGION = "us-east-1"


@dataclass(frozen=True)
class Machine:
    """The machine as the services see it.

    Attributes:
        endpoint: URL under which programs of this machine reach the endpoint.
        data: folder of all that is kept.
        database: what must survive the process.
        engine: runs Spark programs.
        max_steps: programs that run at once.
        step_memory: bytes of memory that one program may use.
        state_s: seconds that a passing state (STARTING, …) takes.
        grace_s: seconds from SIGTERM to SIGKILL.
    """

    endpoint: str
    data: Path
    database: Database
    engine: Engine
    max_steps: int
    step_memory: int
    state_s: float
    grace_s: float

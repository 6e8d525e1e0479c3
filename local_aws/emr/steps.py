"""A step as a program of this machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from local_aws.emr import commands
from local_aws.emr.model import Cluster, Step
from local_aws.engines import Engines
from local_aws.execution import Launch, Program, Result, Run, Runner


@dataclass(frozen=True)
class StepRunner:
    """Starts steps.

    Attributes:
        runner: runs their programs.
        engines: run what spark-submit is given.
        folder: where each step gets a folder.
    """

    runner: Runner
    engines: Engines
    folder: Path

    def start(self, cluster: Cluster, step: Step, on_end: Callable[[Result], None]) -> Run | None:
        """Start a step; return None if the machine runs as many programs as it may."""
        program = Program(
            id=step.id,
            kind="step",
            folder=self.folder / step.id,
            prepare=partial(self._prepare, cluster, step),
            environment={"EMR_CLUSTER_ID": cluster.id, "EMR_STEP_ID": step.id},
            log_uri=cluster.log_uri and f"{cluster.log_uri}/{cluster.id}/steps/{step.id}",
            log_names=("controller", "stdout", "stderr"),
        )
        return self.runner.start(program, on_end)

    def _prepare(self, cluster: Cluster, step: Step, work: Path, environment: Mapping[str, str]) -> Launch:
        engine = self.engines.of(cluster.tags)
        return commands.launch(step.jar, step.args, engine, work, environment, cluster.spark_defaults)

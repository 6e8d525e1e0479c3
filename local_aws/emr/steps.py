"""A step as a program: what its jar and arguments mean on this machine."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from local_aws.emr.model import Cluster, Step
from local_aws.engines import Engine
from local_aws.execution import Launch, LaunchError, Program, Result, Run, Runner
from local_aws.execution.storage import Storage

_SPARK_SUBMIT = ("spark-submit", "/usr/bin/spark-submit", "/usr/lib/spark/bin/spark-submit")


class StepRunner:
    """Starts steps."""

    def __init__(self, runner: Runner, engine: Engine, folder: Path) -> None:
        """Prepare to start steps.

        Args:
            runner: runs their programs.
            engine: runs what spark-submit is given.
            folder: where each step gets a folder.
        """
        self._runner = runner
        self._engine = engine
        self._folder = folder

    def start(self, cluster: Cluster, step: Step, on_end: Callable[[Result], None]) -> Run | None:
        """Start a step; return None if the machine runs as many programs as it may."""
        program = Program(
            id=step.id,
            kind="step",
            folder=self._folder / step.id,
            prepare=partial(self._prepare, step),
            environment={"EMR_CLUSTER_ID": cluster.id, "EMR_STEP_ID": step.id},
            log_uri=cluster.log_uri and f"{cluster.log_uri}/{cluster.id}/steps/{step.id}",
            log_names=("controller", "stdout", "stderr"),
        )
        return self._runner.start(program, on_end)

    def _prepare(self, step: Step, work: Path, environment: Mapping[str, str]) -> Launch:
        jar = step.jar.rpartition("/")[2]
        if jar == "script-runner.jar":
            if not step.args or not step.args[0].startswith("s3"):
                raise LaunchError(f"{jar} needs the s3:// address of a script as its first argument.")
            script = Storage(environment, work).fetch(step.args[0], "the script")
            return Launch(["bash", str(script), *step.args[1:]], dict(environment), work)
        if jar != "command-runner.jar":
            raise LaunchError(
                f"{step.jar} needs Hadoop, which is not available here; use command-runner.jar with spark-submit or"
                " bash."
            )
        if not step.args:
            raise LaunchError("command-runner.jar needs a command, for example spark-submit, in its arguments.")
        if step.args[0] in _SPARK_SUBMIT:
            return self._engine.command(step.args[1:], work, environment)
        program = shutil.which(step.args[0], path=environment.get("PATH"))
        if program is None:
            raise LaunchError(f"command-runner.jar: there is no program {step.args[0]!r} on this machine.")
        return Launch([program, *step.args[1:]], dict(environment), work)

"""What a step does: from its jar and arguments to processes, their end, and their logs on S3."""

import gzip
import logging
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from local_aws.emr import process
from local_aws.emr.model import Cluster, Document, Step
from local_aws.engines import Engine, Launch, SubmitError

log = logging.getLogger(__name__)

_GIB = 1024**3
_SPARK_SUBMIT = ("spark-submit", "/usr/bin/spark-submit", "/usr/lib/spark/bin/spark-submit")
_LOGS = ("controller", "stdout", "stderr")


@dataclass(frozen=True)
class Outcome:
    """How a step ended: COMPLETED, FAILED or, because it was stopped, CANCELLED."""

    state: str
    failure: Document | None = None


class StepRunner:
    """Runs steps, one call a step, in as many threads as the caller likes."""

    def __init__(
        self, engine: Engine, folder: Path, environment: Mapping[str, str], memory: int, grace_s: float
    ) -> None:
        """Prepare to run steps.

        Args:
            engine: runs what spark-submit is given.
            folder: where steps get their working folders.
            environment: what every step's program finds in its environment, e.g. AWS_ENDPOINT_URL.
            memory: bytes of resident memory that one step may use.
            grace_s: seconds from SIGTERM to SIGKILL for a step that is cancelled.
        """
        self._engine = engine
        self._folder = folder
        self._environment = environment
        self._memory = memory
        self._grace_s = grace_s

    @cached_property
    def _s3(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self._environment["AWS_ENDPOINT_URL"],
            region_name=self._environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=self._environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._environment["AWS_SECRET_ACCESS_KEY"],
        )

    def run(self, cluster: Cluster, step: Step, stop: process.Stop) -> Outcome:
        """Run a step to its end and put its logs where the cluster's LogUri says."""
        folder = self._folder / step.id
        work, logs = folder / "work", {name: folder / name for name in _LOGS}
        work.mkdir(parents=True)
        for path in logs.values():
            path.touch()

        def note(text: str) -> None:
            with logs["controller"].open("a") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} INFO {text}\n")

        try:
            outcome = self._run(cluster, step, stop, work, logs, note)
        except SubmitError as error:
            outcome = self._failed("The step could not be started.", str(error))
        except Exception as error:
            log.exception("step %s could not be run", step.id)
            outcome = self._failed("The step could not be started.", f"{type(error).__name__}: {error}")
        if outcome.failure:
            note(f"{outcome.failure['Reason']} {outcome.failure['Message']}")
            if logs["stderr"].stat().st_size == 0:  # what never ran has its say where everybody looks first
                logs["stderr"].write_text(f"{outcome.failure['Message']}\n")
        note(f"step {step.id} ended: {outcome.state}")
        kept = self._keep_logs(cluster, step, logs)
        if outcome.failure:
            outcome.failure["LogFile"] = kept
        shutil.rmtree(work if kept and not kept.startswith("s3://") else folder, ignore_errors=True)
        return outcome

    def _run(
        self,
        cluster: Cluster,
        step: Step,
        stop: process.Stop,
        work: Path,
        logs: dict[str, Path],
        note: Callable[[str], None],
    ) -> Outcome:
        launch = self._launch(cluster, step, work)
        if stop.asked:
            return Outcome("CANCELLED")
        note(f"running {shlex.join(launch.argv)} in {launch.cwd}")
        ended = process.run(
            launch.argv,
            env=launch.env,
            cwd=launch.cwd,
            stdout=logs["stdout"],
            stderr=logs["stderr"],
            memory=self._memory,
            stop=stop,
            grace_s=self._grace_s,
        )
        note(f"ended with exit status {ended.status} ({ended.why.value})")
        if ended.why is process.End.STOPPED:
            return Outcome("CANCELLED")
        if ended.why is process.End.MEMORY:
            message = f"The step used more than {self._memory / _GIB:.1f} GiB of memory (--step-memory) and was killed."
            return self._failed("Out of memory.", message)
        if ended.status == 0:
            return Outcome("COMPLETED")
        word = process.last_word(logs["stderr"])
        if not word or "SparkUserAppException" in word:
            # spark-submit prints what the program said of its failure to the standard output.
            word = process.last_word(logs["stdout"]) or word
        if ended.status == 137:  # 128 + SIGKILL, and it was not us
            message = "The step was killed (signal 9), most likely by the kernel because the machine ran out of memory."
            return self._failed("Killed.", f"{message} {word}".strip())
        return self._failed(f"Exit status {ended.status}.", word or "The program said nothing.")

    @staticmethod
    def _failed(reason: str, message: str) -> Outcome:
        return Outcome("FAILED", {"Reason": reason, "Message": message})

    def _launch(self, cluster: Cluster, step: Step, work: Path) -> Launch:
        environment = dict(self._environment) | {"EMR_CLUSTER_ID": cluster.id, "EMR_STEP_ID": step.id}
        jar = step.jar.rpartition("/")[2]
        if jar == "script-runner.jar":
            if not step.args or not step.args[0].startswith("s3"):
                raise SubmitError(f"{jar} needs the s3:// address of a script as its first argument.")
            script = self._fetch(step.args[0], work)
            return Launch(["bash", str(script), *step.args[1:]], environment, work)
        if jar != "command-runner.jar":
            raise SubmitError(
                f"{step.jar} needs Hadoop, which is not here; give command-runner.jar with spark-submit or bash."
            )
        if not step.args:
            raise SubmitError("command-runner.jar needs a command, for example spark-submit, in its arguments.")
        if step.args[0] in _SPARK_SUBMIT:
            return self._engine.command(step.args[1:], work, environment)
        program = shutil.which(step.args[0], path=environment.get("PATH"))
        if program is None:
            raise SubmitError(f"command-runner.jar: there is no program {step.args[0]!r} on this machine.")
        return Launch([program, *step.args[1:]], environment, work)

    def _fetch(self, uri: str, work: Path) -> Path:
        from botocore.exceptions import ClientError

        bucket, _, key = uri.partition("://")[2].partition("/")
        path = work / key.rpartition("/")[2]
        try:
            self._s3.download_file(bucket, key, str(path))
        except ClientError as error:
            raise SubmitError(f"{uri} cannot be read: {error.response['Error']['Message']}.") from None
        return path

    def _keep_logs(self, cluster: Cluster, step: Step, logs: dict[str, Path]) -> str | None:
        """Put the logs on S3, or leave them here; return the place of stderr."""
        if cluster.log_uri is None:
            return str(logs["stderr"])
        place = f"{cluster.log_uri}/{cluster.id}/steps/{step.id}"
        bucket, _, prefix = place.partition("://")[2].partition("/")
        try:
            for name, path in logs.items():
                packed = gzip.compress(path.read_bytes(), 1)
                self._s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}.gz", Body=packed)
        except Exception as error:  # EMR too runs a step whose logs cannot be written
            log.warning("the logs of step %s stay in %s: %s cannot be written: %s", step.id, self._folder, place, error)
            return str(logs["stderr"])
        return f"{place}/stderr.gz"


def step_environment(endpoint: str, region: str, memory: int) -> dict[str, str]:
    """Return the environment of steps: this process's, with AWS's variables replaced by the endpoint's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SPARK_", "PYTHON"))}
    return own | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "STEP_MEMORY_BYTES": str(memory),
    }

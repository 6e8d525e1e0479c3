"""A job run as a program: what its job driver means on this machine, and where its logs are."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.emr_serverless.applications import log_uri
from local_aws.emr_serverless.job_runs import arguments_of
from local_aws.emr_serverless.model import Application, Attempt, JobRun
from local_aws.engines import Engines, submit_arguments
from local_aws.execution import Launch, LaunchError, Program, Result, Run, Runner

_TAIL_BYTES = 16 * 1024


@dataclass(frozen=True)
class JobStarter:
    """Starts the programs of job runs, and reads their logs.

    Attributes:
        runner: runs them.
        engines: run what spark-submit is given.
        folder: where each attempt gets a folder.
    """

    runner: Runner
    engines: Engines
    folder: Path

    def start(self, application: Application, run: JobRun, on_end: Callable[[Result], None]) -> Run | None:
        """Start the current attempt; return None if the machine runs as many programs as it may."""
        program = Program(
            id=run.id,
            kind="job run",
            folder=self._attempt_folder(run, run.attempt),
            prepare=partial(self._prepare, application, run),
            environment={"SERVERLESS_EMR_APPLICATION_ID": application.id, "SERVERLESS_EMR_JOB_ID": run.id},
            log_uri=driver_logs(application, run, run.attempt),
        )
        return self.runner.start(program, on_end)

    def _prepare(self, application: Application, run: JobRun, work: Path, environment: Mapping[str, str]) -> Launch:
        driver = run.request["jobDriver"]["sparkSubmit"]
        try:
            arguments = arguments_of(application, run.request)
        except ValueError as error:
            raise LaunchError(str(error)) from None
        # local:// is a file of the image, which is this machine
        arguments += [driver["entryPoint"].removeprefix("local://"), *driver.get("entryPointArguments", [])]
        engine = self.engines.named(run.engine)
        submit = submit_arguments(["spark-submit", *arguments], engine)
        assert submit is not None
        return engine.command(submit, work, environment)

    def _attempt_folder(self, run: JobRun, attempt: Attempt) -> Path:
        return self.folder / f"{run.id}-{attempt.number}"

    def tail(self, application: Application, run: JobRun, attempt: Attempt, name: str) -> str:
        """Return the end of a log, "stdout" or "stderr": of the file while the program runs, then of the object."""
        try:
            with (self._attempt_folder(run, attempt) / name).open("rb") as file:
                file.seek(0, 2)
                file.seek(max(file.tell() - _TAIL_BYTES, 0))
                return file.read().decode(errors="replace")
        except OSError:
            pass
        uri = driver_logs(application, run, attempt)
        if uri is None:
            return ""
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        try:
            body = self.runner.s3().get_object(Bucket=bucket, Key=f"{prefix}/{name}.gz")["Body"].read()
        except (ClientError, BotoCoreError):
            return ""
        return gzip.decompress(body)[-_TAIL_BYTES:].decode(errors="replace")


def driver_logs(application: Application, run: JobRun, attempt: Attempt) -> str | None:
    """Return the S3 folder of an attempt's driver logs, None if it has none."""
    uri = log_uri(run.request.get("configurationOverrides", {})) or log_uri(application.settings)
    again = f"/attempts/{attempt.number}" if attempt.number > 1 else ""
    return uri and f"{uri}/applications/{application.id}/jobs/{run.id}{again}/SPARK_DRIVER"

"""What a step's jar and arguments mean on this machine."""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from local_aws.engines import Engine, submit_arguments
from local_aws.execution import Launch, LaunchError
from local_aws.execution.storage import Storage

_S3_DIST_CP = Path(__file__).with_name("s3_dist_cp.py")
_S3_DIST_CP_JARS = ("s3-dist-cp.jar", "emr-s3distcp-1.0.jar")
_STATE_PUSHER = re.compile(r"(s3://.*/)?state-pusher(-script|/.*)")  # as a command, and as the script of older releases
_SPARK = ("pyspark", "spark-shell", "spark-sql", "sparkR")
_HADOOP = (
    *("beeline", "flink", "flink-yarn-session", "hadoop", "hadoop-streaming", "hbase", "hdfs", "hive", "hive-script"),
    *("hudi-cli", "mapred", "oozie", "pig", "pig-script", "presto-cli", "sqoop", "trino-cli", "yarn"),
)


def launch(
    jar: str,
    arguments: Sequence[str],
    engine: Engine,
    work: Path,
    environment: Mapping[str, str],
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> Launch:
    """Return the process of a step.

    Args:
        jar: the step's jar.
        arguments: its arguments.
        engine: runs what spark-submit is given.
        work: the step's working folder.
        environment: the step's variables.
        defaults: the cluster's own Spark properties, which those of the step override.

    Raises:
        LaunchError: this machine cannot run it.
    """
    name = jar.rpartition("/")[2]

    def run(*argv: str) -> Launch:
        return Launch(list(argv), dict(environment), work)

    if name in ("script-runner.jar", "command-runner.jar") and arguments and _STATE_PUSHER.fullmatch(arguments[0]):
        return run(sys.executable, "-Ic", "print('state-pusher-script: there is no state to push here')")
    if name == "script-runner.jar":
        if not arguments or not arguments[0].startswith("s3"):
            raise LaunchError(f"{name} needs the s3:// address of a script as its first argument.")
        script = Storage(environment, work).fetch(arguments[0], "the script")
        return run(*_interpreter(script, environment), str(script), *arguments[1:])
    if name in _S3_DIST_CP_JARS:
        return run(sys.executable, "-Iu", str(_S3_DIST_CP), *arguments)
    if name != "command-runner.jar":
        raise LaunchError(
            f"{jar} needs Hadoop, which is not available here; use command-runner.jar with spark-submit or bash."
        )
    if not arguments:
        raise LaunchError("command-runner.jar needs a command, for example spark-submit, in its arguments.")
    command, *rest = arguments
    if command == "s3-dist-cp":
        return run(sys.executable, "-Iu", str(_S3_DIST_CP), *rest)
    submit = submit_arguments(arguments, engine)
    if submit is not None:
        if not any(word.startswith("--properties-file") for word in submit):  # which Spark reads in their place
            submit = [word for key, value in defaults.items() for word in ("--conf", f"{key}={value}")] + submit
        return engine.command(submit, work, environment)
    program = shutil.which(command, path=environment.get("PATH"))
    if program is None:
        raise LaunchError(f"command-runner.jar: {_missing(command)}")
    return run(program, *rest)


def _missing(command: str) -> str:
    name = command.rpartition("/")[2]
    if name == "sudo":
        return "there is no sudo on this machine; steps run as the user of the endpoint: leave it out."
    if name in _HADOOP:
        return f"{name} needs Hadoop, which is not available here; use spark-submit or bash."
    if name in _SPARK:
        return f"{name} is not available here; use spark-submit."
    return f"there is no program {command!r} on this machine."


def _interpreter(script: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the interpreter that the first line of a script names, as Linux reads it; bash if there is none."""
    with script.open("rb") as file:
        line = file.readline(1000).decode(errors="replace").rstrip()
    if not line.startswith("#!"):
        return ["bash"]
    path, *argument = line[2:].strip().split(maxsplit=1) or ["bash"]
    found = path if Path(path).is_file() else shutil.which(Path(path).name, path=environment.get("PATH"))
    if found is None:
        raise LaunchError(f"The script asks for {path} in its first line, and there is none on this machine.")
    return [found, *argument]

"""The arguments of `spark-submit`, and the files that they name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_aws.execution import LaunchError
from local_aws.execution.storage import Storage

# spark-submit's options that take a value, and the Spark property that each of them sets.
_OPTIONS = {
    "--name": "spark.app.name",
    "--py-files": "spark.submit.pyFiles",
    "--files": "spark.files",
    "--jars": "spark.jars",
    "--packages": "spark.jars.packages",
    "--exclude-packages": "spark.jars.excludes",
    "--repositories": "spark.jars.repositories",
    "--master": "spark.master",
    "--deploy-mode": "spark.submit.deployMode",
    "--driver-memory": "spark.driver.memory",
    "--driver-cores": "spark.driver.cores",
    "--driver-java-options": "spark.driver.extraJavaOptions",
    "--executor-memory": "spark.executor.memory",
    "--executor-cores": "spark.executor.cores",
    "--num-executors": "spark.executor.instances",
    "--total-executor-cores": "spark.cores.max",
    "--queue": "spark.yarn.queue",
}
_SWITCHES = {"--verbose", "-v", "--supervise", "--load-spark-defaults"}

# Properties of clusters: where a program runs there and with how many resources; they have no meaning on one machine.
_OF_CLUSTERS = (
    "spark.master",
    "spark.submit.deployMode",
    "spark.driver.memory",
    "spark.driver.cores",
    "spark.cores.max",
    "spark.executor.",
    "spark.dynamicAllocation.",
    "spark.shuffle.service.",
    "spark.yarn.",
    "spark.kubernetes.",
)


@dataclass(frozen=True)
class Submission:
    """The parsed arguments of one spark-submit; files are as given, s3:// addresses or local paths."""

    program: str
    arguments: list[str]
    py_files: list[str]
    files: list[str]
    jars: list[str]
    conf: dict[str, str]  # Spark properties, without those of clusters


@dataclass(frozen=True)
class Staged:
    """The files of a submission, on this machine."""

    program: Path
    py_files: list[Path]
    files: list[Path]
    jars: list[Path]


def parse(arguments: Sequence[str], storage: Storage) -> Submission:
    """Parse the arguments after "spark-submit".

    As in spark-submit, an option overrides --conf, and --conf overrides --properties-file.

    Raises:
        LaunchError: an option is unknown or has no value, or the program is missing or not a Python program.
    """
    options: dict[str, str] = {}
    conf: dict[str, str] = {}
    properties: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option, joined, value = rest.pop(0).partition("=")
        if option in _SWITCHES and not joined:
            continue
        if option not in (*_OPTIONS, "--conf", "-c", "--properties-file"):
            raise LaunchError(_unknown(option))
        if not joined:
            if not rest:
                raise LaunchError(f"spark-submit's option {option} needs a value.")
            value = rest.pop(0)
        if option in ("--conf", "-c"):
            key, separator, setting = value.partition("=")
            if not separator or not key.strip():
                raise LaunchError(f"spark-submit's option {option} {value!r} is not key=value.")
            conf[key.strip()] = setting
        elif option == "--properties-file":
            properties |= _read_properties(storage.text(value, option))
        else:
            options[_OPTIONS[option]] = value
    if not rest:
        raise LaunchError("spark-submit is given no program: name a .py file at s3:// after the options.")
    program = rest.pop(0)
    if not program.partition("#")[0].endswith(".py"):
        raise LaunchError(f"{program} cannot be run: only Python programs (.py) can, not jars.")
    merged = {key: value for key, value in (properties | conf | options).items() if not key.startswith(_OF_CLUSTERS)}

    def files(key: str) -> list[str]:
        return [file.strip() for file in merged.pop(key, "").split(",") if file.strip()]

    return Submission(
        program=program,
        arguments=rest,
        py_files=files("spark.submit.pyFiles"),
        files=files("spark.files"),
        jars=files("spark.jars"),
        conf=merged,
    )


def stage(submission: Submission, storage: Storage) -> Staged:
    """Fetch the program and its files.

    Raises:
        LaunchError: one of them does not exist, or Python cannot import from a --py-files entry.
    """
    for file in submission.py_files:
        if not file.endswith((".py", ".zip", ".egg")):
            raise LaunchError(f"{file}, given as --py-files, is none of .py, .zip and .egg.")
    return Staged(
        program=storage.fetch(submission.program, "the program"),
        py_files=[storage.fetch(file, "--py-files", "py-files") for file in submission.py_files],
        files=[storage.fetch(file, "--files") for file in submission.files],
        jars=[storage.fetch(file, "--jars", "jars") for file in submission.jars],
    )


def _unknown(option: str) -> str:
    if option == "--class":
        return "spark-submit's option --class cannot be used: only Python programs are run here."
    offered = ", ".join((*_OPTIONS, "--conf", "--properties-file", "--verbose"))
    return f"spark-submit's option {option} cannot be used here; these can: {offered}."


def _read_properties(text: str) -> dict[str, str]:
    # The Java form, as far as spark-defaults.conf uses it: "key value", "key=value" or "key: value"; # is a comment.
    lines = [line.strip() for line in text.splitlines()]
    matches = [re.fullmatch(r"([^\s=:]+)\s*[=:]?\s*(.*)", line) for line in lines if line and line[0] not in "#!"]
    return {match[1]: match[2] for match in matches if match}

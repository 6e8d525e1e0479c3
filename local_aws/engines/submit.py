"""The arguments of `spark-submit`, and the files that they name."""

import re
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.execution import LaunchError
from local_aws.execution.storage import Storage

# spark-submit's options that take a value, and the Spark property that each of them sets.
_OPTIONS = {
    "--name": "spark.app.name",
    "--py-files": "spark.submit.pyFiles",
    "--files": "spark.files",
    "--jars": "spark.jars",
    "--archives": "spark.archives",
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
    "spark.emr-serverless.",
)

# Prefixes of properties that set an environment variable: of the driver on EMR Serverless and on EMR, of executors.
_VARIABLES = ("spark.executorEnv.", "spark.yarn.appMasterEnv.", "spark.emr-serverless.driverEnv.")
_PYTHON = ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
_ARCHIVES = (".zip", ".jar", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Submission:
    """The parsed arguments of one spark-submit; files are as given, s3:// addresses or local paths."""

    program: str
    arguments: list[str]
    py_files: list[str]
    files: list[str]
    jars: list[str]
    archives: list[str]
    conf: dict[str, str]  # Spark properties, without those of clusters
    variables: dict[str, str]  # environment variables for the program
    python: str | None  # the Python to run it with, as a path in an unpacked archive


@dataclass(frozen=True)
class Staged:
    """The files of a submission, on this machine."""

    program: Path
    py_files: list[Path]
    files: list[Path]
    jars: list[Path]
    packages: list[Path] = field(default_factory=list)  # folders with Python packages, of a packed environment


def spark_properties(arguments: Sequence[str]) -> dict[str, str]:
    """Return the Spark properties that the arguments before the program set, those of clusters too.

    Raises:
        LaunchError: an option is unknown or has no value.
    """
    read = _read_options(arguments)
    return read.conf | read.options


def parse(arguments: Sequence[str], storage: Storage) -> Submission:
    """Parse the arguments after "spark-submit".

    As in spark-submit, an option overrides --conf, and --conf overrides --properties-file.

    Raises:
        LaunchError: an option is unknown or has no value, or the program is missing or not a Python program.
    """
    read = _read_options(arguments)
    if "--class" in read.options:
        raise LaunchError(_unknown("--class"))
    rest = read.rest
    properties: dict[str, str] = {}
    for file in read.property_files:
        properties |= _read_properties(storage.text(file, "--properties-file"))
    if not rest:
        raise LaunchError("spark-submit is given no program: name a .py file at s3:// after the options.")
    program = rest.pop(0)
    if not program.partition("#")[0].endswith(".py"):
        raise LaunchError(f"{program} cannot be run: only Python programs (.py) can, not jars.")
    given = properties | read.conf | read.options
    given["spark.archives"] = ",".join(
        filter(None, (given.get(key) for key in ("spark.archives", "spark.yarn.dist.archives")))
    )
    variables = {
        key.removeprefix(prefix): value
        for prefix in _VARIABLES
        for key, value in given.items()
        if key.startswith(prefix)
    }
    merged = {key: value for key, value in given.items() if not key.startswith((*_OF_CLUSTERS, *_VARIABLES))}
    pythons = [variables.pop(name, None) for name in _PYTHON]
    pythons += [merged.pop(key, None) for key in ("spark.pyspark.python", "spark.pyspark.driver.python")]

    def files(key: str) -> list[str]:
        return [file.strip() for file in merged.pop(key, "").split(",") if file.strip()]

    return Submission(
        program=program,
        arguments=rest,
        py_files=files("spark.submit.pyFiles"),
        files=files("spark.files"),
        jars=files("spark.jars"),
        archives=files("spark.archives"),
        conf=merged,
        variables=variables,
        # "python3" and "/usr/bin/python3" are those of AWS's machines: here the engine's own takes their place.
        python=next((python for python in pythons if python and python.find("/") > 0), None),
    )


@dataclass(frozen=True)
class _Options:
    """What stands before the program: options and properties as Spark properties, files of them, and what follows."""

    options: dict[str, str]
    conf: dict[str, str]
    property_files: list[str]
    rest: list[str]


def _read_options(arguments: Sequence[str]) -> _Options:
    read = _Options({}, {}, [], list(arguments))
    rest = read.rest
    while rest and rest[0].startswith("-"):
        option, joined, value = rest.pop(0).partition("=")
        if option in _SWITCHES and not joined:
            continue
        if option not in (*_OPTIONS, "--conf", "-c", "--properties-file", "--class"):
            raise LaunchError(_unknown(option))
        if not joined:
            if not rest:
                raise LaunchError(f"spark-submit's option {option} needs a value.")
            value = rest.pop(0)
        if option in ("--conf", "-c"):
            key, separator, setting = value.partition("=")
            if not separator or not key.strip():
                raise LaunchError(f"spark-submit's option {option} {value!r} is not key=value.")
            read.conf[key.strip()] = setting
        elif option == "--properties-file":
            read.property_files.append(value)
        else:
            read.options[_OPTIONS.get(option, option)] = value
    return read


def stage(submission: Submission, storage: Storage, python: tuple[int, int] = sys.version_info[:2]) -> Staged:
    """Fetch the program and its files, and unpack its archives.

    Args:
        submission: what spark-submit was given.
        storage: fetches files into the program's working folder.
        python: the version of the Python that runs the program.

    Raises:
        LaunchError: one of them does not exist, Python cannot import from a --py-files entry, or an archive cannot be
            unpacked or has no environment for this Python; the text is one sentence.
    """
    for file in submission.py_files:
        if not file.endswith((".py", ".zip", ".egg")):
            raise LaunchError(f"{file}, given as --py-files, is none of .py, .zip and .egg.")
    for archive in submission.archives:
        _unpack(archive, storage)
    return Staged(
        packages=_packages(submission, storage.folder, python),
        program=storage.fetch(submission.program, "the program"),
        py_files=[storage.fetch(file, "--py-files", "py-files") for file in submission.py_files],
        files=[storage.fetch(file, "--files") for file in submission.files],
        jars=[storage.fetch(file, "--jars", "jars") for file in submission.jars],
    )


def _unpack(archive: str, storage: Storage) -> None:
    """Unpack an archive into a folder of its name, or of what stands after a "#"."""
    address, _, alias = archive.partition("#")
    name = address.rpartition("/")[2]
    if not name.endswith(_ARCHIVES):
        raise LaunchError(f"{address}, given as --archives, is none of {', '.join(_ARCHIVES)}.")
    packed = storage.fetch(address, "--archives", ".archives")
    target = storage.folder / (alias or name)
    if target.parent != storage.folder or target.exists():
        raise LaunchError(
            f"{archive}, given as --archives, cannot be unpacked into {alias or name!r}: use another name."
        )
    try:
        if zipfile.is_zipfile(packed):
            with zipfile.ZipFile(packed) as file:
                file.extractall(target)  # noqa: S202 (it keeps inside the folder)
        else:
            with tarfile.open(packed) as tar:
                tar.extractall(target, filter="tar")  # not "data": environments have links to their Python
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise LaunchError(f"{address}, given as --archives, cannot be unpacked: {error}.") from None
    packed.unlink()


def _packages(submission: Submission, folder: Path, python: tuple[int, int]) -> list[Path]:
    """Return the packages of the packed environment whose Python a submission names.

    The engine's own Python runs the program, with these packages before its own: the Python in the archive is linked
    to one of the machine on which it was packed, and has no engine.
    """
    if submission.python is None:
        return []
    environment = folder / Path(submission.python).parent.parent
    found = sorted(environment.glob("lib*/python3*/site-packages"))
    if not found:
        raise LaunchError(
            f"{submission.python}, given as the Python of the program, is in no environment of --archives: pack one"
            " with venv-pack and add --archives s3://…/environment.tar.gz#environment."
        )
    version = f"python{python[0]}.{python[1]}"
    fitting = [packages for packages in found if packages.parent.name == version]
    if not fitting:
        raise LaunchError(
            f"The environment of {submission.python} has packages for {found[0].parent.name}, and programs run here on"
            f" {version}: pack it with that one."
        )
    return fitting


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

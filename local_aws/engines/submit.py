"""What `spark-submit` is told: its arguments, and the files that they name."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.engines.interface import SubmitError

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

# Where a program runs on a cluster and how large it is there says nothing about one machine.
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
    """What one call of spark-submit asks for; places are as given, s3:// or local."""

    program: str
    arguments: list[str]
    py_files: list[str]
    files: list[str]
    jars: list[str]
    conf: dict[str, str]  # Spark properties, those of clusters left out


@dataclass(frozen=True)
class Staged:
    """The files of a submission, on this machine."""

    program: Path
    py_files: list[Path]
    files: list[Path]
    jars: list[Path]


class Storage:
    """Fetches what a submission names, from S3 or from this machine, into the folder that the program runs in."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def fetch(self, place: str, what: str, subfolder: str = "") -> Path:
        """Copy `place` into the folder, or link to it if it is on this machine; `what` names it in errors.

        Raises:
            SubmitError: it is not there, or `place` is neither s3:// nor local.
        """
        # As on YARN, "place#name" gives the file another name in the working folder.
        place, _, alias = place.partition("#")
        address = urlsplit(place)
        local = address.scheme in ("", "file")
        if not local and address.scheme not in ("s3", "s3a", "s3n"):
            raise SubmitError(f"{place}, given as {what}, cannot be fetched: give an s3:// address or a local path.")
        target = self._target(alias or Path(address.path).name, subfolder, what)
        if local:
            if not Path(address.path).is_file():
                raise SubmitError(f"{place}, given as {what}, does not exist.")
            target.symlink_to(Path(address.path).absolute())
            return target
        try:
            s3_client(self._environment).download_file(address.netloc, address.path.lstrip("/"), str(target))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            reason = "does not exist" if code in ("404", "NoSuchKey", "NoSuchBucket") else f"cannot be read: {error}"
            raise SubmitError(f"{place}, given as {what}, {reason}.") from None
        except BotoCoreError as error:
            raise SubmitError(f"{place}, given as {what}, cannot be read: {error}") from None
        return target

    def text(self, place: str, what: str) -> str:
        """Return the text of the file at `place`; errors as :meth:`fetch`."""
        return self.fetch(place, what).read_text(encoding="utf-8")

    def _target(self, name: str, subfolder: str, what: str) -> Path:
        if not name or name in (".", "..") or "/" in name:
            raise SubmitError(f"{name!r}, given as {what}, is not the name of a file.")
        target = self._folder / subfolder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


_CLIENT_LOCK = threading.Lock()


def s3_client(environment: Mapping[str, str]) -> Any:
    """Return the boto3 client for the S3 that `environment` names; it may be shared between threads."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    with _CLIENT_LOCK:  # making a client is not thread-safe
        return _s3_client(*(environment.get(name) for name in names))


@lru_cache(maxsize=8)
def _s3_client(endpoint: str | None, key: str | None, secret: str | None, region: str | None) -> Any:
    return boto3.session.Session(key, secret, region_name=region).client(
        "s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2})
    )


def parse(words: Sequence[str], storage: Storage) -> Submission:
    """Read the words after "spark-submit".

    As in spark-submit, an option wins over --conf, and --conf over --properties-file.

    Raises:
        SubmitError: an option is unknown or lacks its value, or the program is missing or not a Python one.
    """
    options: dict[str, str] = {}
    conf: dict[str, str] = {}
    properties: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option, joined, value = rest.pop(0).partition("=")
        if option in _SWITCHES and not joined:
            continue
        if option not in (*_OPTIONS, "--conf", "-c", "--properties-file"):
            raise SubmitError(_unknown(option))
        if not joined:
            if not rest:
                raise SubmitError(f"spark-submit's option {option} needs a value.")
            value = rest.pop(0)
        if option in ("--conf", "-c"):
            key, separator, setting = value.partition("=")
            if not separator or not key.strip():
                raise SubmitError(f"spark-submit's option {option} {value!r} is not key=value.")
            conf[key.strip()] = setting
        elif option == "--properties-file":
            properties |= _read_properties(storage.text(value, option))
        else:
            options[_OPTIONS[option]] = value
    if not rest:
        raise SubmitError("spark-submit is given no program: name a .py file at s3:// after the options.")
    program = rest.pop(0)
    if not program.partition("#")[0].endswith(".py"):
        raise SubmitError(f"{program} cannot be run: only Python programs (.py) are, not jars.")
    merged = {key: value for key, value in (properties | conf | options).items() if not key.startswith(_OF_CLUSTERS)}

    def places(key: str) -> list[str]:
        return [place.strip() for place in merged.pop(key, "").split(",") if place.strip()]

    return Submission(
        program=program,
        arguments=rest,
        py_files=places("spark.submit.pyFiles"),
        files=places("spark.files"),
        jars=places("spark.jars"),
        conf=merged,
    )


def stage(submission: Submission, storage: Storage) -> Staged:
    """Fetch the program and the files that go with it.

    Raises:
        SubmitError: one of them is not there, or a --py-files entry is none that Python can import from.
    """
    for place in submission.py_files:
        if not place.endswith((".py", ".zip", ".egg")):
            raise SubmitError(f"{place}, given as --py-files, is none of .py, .zip and .egg.")
    return Staged(
        program=storage.fetch(submission.program, "the program"),
        py_files=[storage.fetch(place, "--py-files", "py-files") for place in submission.py_files],
        files=[storage.fetch(place, "--files") for place in submission.files],
        jars=[storage.fetch(place, "--jars", "jars") for place in submission.jars],
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

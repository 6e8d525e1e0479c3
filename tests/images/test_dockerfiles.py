"""The Dockerfiles: checked by hadolint, and for what hadolint does not know."""

import re
import subprocess
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

from tests.tools import tool

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted([*ROOT.glob("images/*/Dockerfile"), ROOT / "tests/e2e/base_image/Dockerfile"])
OURS = [each for each in DOCKERFILES if each.is_relative_to(ROOT / "images")]
each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
each_of_ours = pytest.mark.parametrize("dockerfile", OURS, ids=lambda path: path.parent.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments) with continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


@cache
def ignore_rules() -> list[tuple[bool, re.Pattern[str]]]:
    """Return .dockerignore as (excludes, pattern) in order; the last match of a path or its folders decides."""
    rules = []
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        out = not pattern.startswith("!")
        words = re.escape(pattern.lstrip("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        rules.append((out, re.compile(words)))
    return rules


def in_context(path: str) -> bool:
    """Return whether docker sends a path of the repository to the builder."""
    ignored = False
    pure = PurePosixPath(path)
    candidates = [str(pure), *(str(folder) for folder in pure.parents if str(folder) != ".")]
    for out, pattern in ignore_rules():
        if any(pattern.fullmatch(candidate) for candidate in candidates):
            ignored = out
    return not ignored


@cache
def context() -> dict[str, int]:
    """Return what would be sent: path → bytes."""
    folders = ["requirements", "local_aws", "local_kafka", "images", "tests", "dags", "spark_jobs", "services"]
    folders += ["console", "contracts", "helm", "docs", ".github"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    names = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in files}
    return {name: size for name, size in names.items() if in_context(name)}


@each_dockerfile
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    done = subprocess.run([tool("hadolint"), "--no-color", dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@each_dockerfile
def test_the_base_image_can_be_chosen_and_has_a_pinned_default(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    name, _, default = steps[0][1].partition("=")
    assert (steps[0][0], name) == ("ARG", "BASE_IMAGE")
    assert re.fullmatch(r"[a-z0-9./-]+:(?!latest)[\w.-]+", default)
    for instruction, arguments in steps:
        if instruction == "FROM":
            assert arguments.split()[0] == "${BASE_IMAGE}", "a machine may reach another registry only"


@each_dockerfile
def test_it_runs_as_a_user_without_rights_given_by_number(dockerfile: Path) -> None:
    users = [arguments for instruction, arguments in instructions(dockerfile) if instruction == "USER"]
    assert re.fullmatch(r"[1-9]\d*(:\d+)?", users[-1]), "Kubernetes' runAsNonRoot cannot judge a name"


@each_dockerfile
def test_it_builds_without_buildkit(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    assert not re.search(r"(?m)^# syntax=|--mount=|--chmod|--link|<<\w+", text), "the builder may be the old one"


@each_of_ours
def test_python_packages_are_locked_by_hash_and_leave_no_tools(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    last_from = max(index for index, (instruction, _) in enumerate(steps) if instruction == "FROM")
    for index, (instruction, arguments) in enumerate(steps):
        if instruction != "RUN":
            continue
        for command in arguments.split("&&"):
            if re.search(r"pip (install|sync)", command):
                assert "--require-hashes" in command
                assert "--no-cache" in command
                assert index < last_from, "the last stage has neither pip nor uv"
        if "apt-get install" in arguments:
            assert "--no-install-recommends" in arguments
            assert "rm -rf /var/lib/apt/lists/*" in arguments
            if index > last_from:
                assert not re.search(r"build-essential|-dev\b|gcc|openjdk|pkg-config", arguments)


@each_of_ours
def test_it_has_the_labels_of_open_containers(dockerfile: Path) -> None:
    labels = " ".join(arguments for instruction, arguments in instructions(dockerfile) if instruction == "LABEL")
    assert f'org.opencontainers.image.title="taxiway/{dockerfile.parent.name}"' in labels
    for label in ("description", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels


@each_dockerfile
def test_all_that_is_copied_is_in_the_build_context(dockerfile: Path) -> None:
    for instruction, arguments in instructions(dockerfile):
        if instruction == "COPY" and "--from=" not in arguments:
            for source in arguments.split()[:-1]:
                there = [name for name in context() if name == source or name.startswith(f"{source}/")]
                assert there, f"{source} is kept out by .dockerignore or does not exist"


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".local/venvs/dev/bin/python", ".local/aws/state.db", ".env", "README.md", "Makefile",
        "kubeconfig", "dags/taxiway/catalogue.py", "spark_jobs/hvfhv/marts.py", "helm/airflow/base.yaml",
        "tests/conftest.py", "tests/e2e/test_cluster.py", "requirements/dev.txt", "requirements/airflow.txt",
        "dags/hvfhv_analysis.py", "spark_jobs/publish.py",
        "local_aws/README.md", "local_aws/__pycache__/server.cpython-311.pyc",
        "local_aws/emr/__pycache__/store.cpython-311.pyc",
    ],
)  # fmt: skip
def test_the_build_context_excludes_everything_else(path: str) -> None:
    assert not in_context(path)


def test_the_build_context_is_small() -> None:
    assert sum(context().values()) < 3_000_000, sorted(context().items(), key=lambda item: -item[1])[:5]
    ours = {"local_aws", "local_kafka", "services", "spark_jobs", "console", "contracts", "dags"}
    assert {name.split("/")[0] for name in context()} == {"requirements", "images", "tests"} | ours

"""What holds for the repository as a whole: its version, its workflows, and that its checks look at everything."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.tools import ROOT, tool

DAG_FILES = sorted(ROOT.glob("dags/*.py"))


def test_the_newest_version_of_the_changelog_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = re.findall(r"(?m)^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert versions[0] == project["version"]
    assert versions == sorted(versions, key=lambda text: [int(part) for part in text.split(".")], reverse=True)


@pytest.mark.parametrize("workflow", sorted(ROOT.glob(".github/workflows/*")), ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_and_names_its_version(workflow: Path) -> None:
    used = re.findall(r"(?m)^\s*-?\s*uses: (.*)$", workflow.read_text(encoding="utf-8"))
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []


def test_nothing_but_the_hook_of_ci_looks_beside_the_checkout() -> None:
    found = subprocess.run(
        ["git", "grep", "--files-with-matches", "--extended-regexp", r"\.\./shared|parent / .shared"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert set(found.stdout.split()) <= {".ci/run", "CONTRIBUTING.md", "tests/test_project.py"}


@pytest.mark.slow
@pytest.mark.parametrize("dag_file", DAG_FILES[:1], ids=lambda path: path.name)
def test_a_type_error_in_a_dag_file_is_found(dag_file: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "dags").mkdir()
    text = dag_file.read_text(encoding="utf-8")
    (tmp_path / "dags" / dag_file.name).write_text(f'{text}\nplanted: int = "text"\n', encoding="utf-8")
    # What it imports is of no interest: reading Airflow takes half a minute.
    command = [tool("mypy"), "--follow-imports=skip", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    line = text.count("\n") + 2
    assert done.returncode == 1
    assert f"dags/{dag_file.name}:{line}: error: Incompatible types in assignment" in done.stdout, done.stdout

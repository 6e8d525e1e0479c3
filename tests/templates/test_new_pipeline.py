"""The files of a new pipeline: which names it may have, and that what is made of odd files is sound."""

import http.server
import os
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from templates.__main__ import NewPipelineError, check_name
from tests.tools import ROOT

PYTHON = ROOT / ".local/venvs/template/bin/python"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a pipeline in an empty folder, which it returns."""
    if not PYTHON.exists():
        pytest.skip("the environment template is not installed: make new-pipeline installs it")

    def made(name: str, csv: str) -> Path:
        command = [str(PYTHON), "-m", "templates", name, csv, "--root", str(tmp_path / name)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return tmp_path / name

    return made


def lint(folder: Path) -> None:
    """Check what does not depend on the rest of the repository."""
    ruff, yamllint = (str(ROOT / ".local/venvs/dev/bin" / name) for name in ("ruff", "yamllint"))
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (
        [ruff, "check", *config, "--ignore", "I001", "."],
        [ruff, "format", "--check", *config, "."],
        [yamllint, "--strict", "--config-file", str(ROOT / ".yamllint.yaml"), "contracts"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def columns(file: Path) -> list[dict[str, Any]]:
    (table,) = yaml.safe_load(file.read_text(encoding="utf-8"))["schema"]
    return list(table["properties"])


@pytest.mark.parametrize("name", ["weather", "park_weather", "nothing", "yesterday"])
def test_a_name_that_is_free_is_taken(name: str) -> None:
    check_name(name, ROOT)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        *((name, "has another meaning in the code") for name in ("no", "yes", "off", "on", "null", "true", "false")),
        *((name, "has another meaning in the code") for name in ("import", "lake", "order", "at", "group")),
        *((name, f"is taken: there is demos/{name}.py") for name in ("datasets", "costs", "csv_files")),
        *((name, f"is taken: there is spark_jobs/{name}.py") for name in ("publish", "environment")),
        ("deadlines", "is taken: there is dags/taxiway/deadlines.py"),
        ("kafka", "is taken: there is services/kafka.py"),
        ("runs", "is taken: there is tests/dags/runs.py"),
        ("hvfhv", "is taken: there is contracts/hvfhv"),
        ("Weather", "is not a pipeline's name"),
    ],
)
def test_a_name_that_means_something_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(NewPipelineError, match=sentence):
        check_name(name, ROOT)


@pytest.mark.slow
def test_odd_columns_make_sound_files(make: Callable[..., Path], tmp_path: Path) -> None:
    header = ["No", "No.2", "Yes", "Off", "Y", "N", "a", "b", "two\nlines", 'say "so"', "ctrl\x85", 'é"' * 50]
    file = tmp_path / "odd.csv"
    quoted = ('"' + name.replace('"', '""') + '"' for name in header)
    file.write_text(f"{';'.join(quoted)}\n{';'.join('1' * len(header))}\n{';' * (len(header) - 1)}\n", encoding="utf-8")

    folder = make("odd", str(file))

    lint(folder)
    names = ["no", "no_2", "yes", "off", "y", "n", "a", "b", "two_lines", "say_so", "ctrl", "column_12"]
    assert [each["name"] for each in columns(folder / "contracts/odd/odd.yaml")] == names
    found = columns(folder / "contracts/odd/odd_file.yaml")
    assert [each["name"] for each in found] == names
    assert [each.get("physicalName", each["name"]) for each in found] == [name.lower().strip() for name in header]
    assert not any("required" in each for each in found)
    assert "next(" not in (folder / "tests/spark_jobs/odd/test_transform.py").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("length", [28, 31, 32, 100, 150])
def test_an_address_is_the_default_as_it_is(length: int, make: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/f.csv").write_text("day,rain\n2023-01-01,1\n")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/f.csv?"
        url += "a&'" * length
        folder = make("web", url[:length])
        server.shutdown()

    lint(folder)
    assert f'default="{url[:length]}"' in (folder / "dags/taxiway/web/settings.py").read_text()


def test_make_hands_over_the_address_as_it_was_typed(tmp_path: Path) -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    (recipe,) = (line for line in lines if "-m templates" in line)
    shown = recipe.replace("$(VENVS)/template/bin/python -m templates", r"printf '%s\n'")
    exports = [line for line in lines if line.startswith("override export")]
    (tmp_path / "Makefile").write_text("\n".join([*exports, "show:", shown, ""]))
    given = ["a$b", """https://example.org/my.csv?$limit=5000&q="it's" """]
    done = subprocess.run(
        ["make", "-s", "-C", str(tmp_path), "show", f"NAME={given[0]}", f"CSV={given[1]}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert done.stdout.splitlines() == given

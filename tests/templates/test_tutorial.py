"""docs/your-first-pipeline.md, followed to the letter in a copy of the repository."""

import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from console.ports import free_port
from tests.tools import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = (ROOT / "docs/your-first-pipeline.md").read_text(encoding="utf-8")
# Commands, which are indented, and changes, in their order.
STEPS = re.findall(r"(?ms)^    (?P<command>\S.*?)$|^```diff\n(?P<change>.*?)^```$", PAGE)
OWN = next(number for number, (command, _) in enumerate(STEPS) if "my_table" in command)
ADDRESS = "https://example.org/my.csv"
# What `make docs` and `make contracts` write.
GENERATED = {
    *("aws/platform.yaml", "contracts/released.yaml", "docs/DAGs.md", "docs/runbooks/README.md", "docs/tables.md"),
    *("helm/monitoring/rules/slo.yaml", "warehouse/models/sources.yml"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository, with the environments of this one."""
    if not (ROOT / ".local/venvs/template/bin/python").exists():
        pytest.skip("the environment template is not installed: make new-pipeline installs it")
    folder = tmp_path_factory.mktemp("repository")
    files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    for name in (name for name in files if (ROOT / name).is_file()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".local").mkdir()
    for name in ("venvs", "bin", "spark-jars"):
        if (ROOT / ".local" / name).exists():
            (folder / ".local" / name).symlink_to(ROOT / ".local" / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=Any", "-c", "user.email=any@example.org", "commit", "--quiet", "--message=Copy")
    return folder


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a CSV file of a person; yield its address."""
    folder = tmp_path_factory.mktemp("web")
    rows = [f"Station {number};1877-06-{1 + number % 30:02d};{number}.5" for number in range(40)]
    (folder / "my.csv").write_text("\n".join(["Station;Opened;Rides", *rows, "York;1877-06-25;1;5", ""]))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/my.csv"
        server.shutdown()


def git(folder: Path, *words: str, text: str | None = None) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, input=text, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def follow(folder: Path, command: str, change: str, ports: tuple[int, int]) -> str:
    """Do a step of the page; return what it prints."""
    if change:
        return git(folder, "apply", "--unidiff-zero", "-", text=change)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_"))}
    for name in ("PYTHONPATH", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "MAKEFLAGS"):
        environment.pop(name, None)
    environment |= {"UI_PORT": str(ports[0]), "AWS_PORT": str(ports[1]), "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, shell=True, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def changed(folder: Path) -> dict[str, str]:
    """Return the state of each file that differs from the commit: ``M`` or ``??``."""
    lines = git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
    return {line[3:]: line[:2].strip() for line in lines}


def test_the_page_has_commands_and_changes() -> None:
    commands = [command for command, _ in STEPS if command]
    assert commands[0] == "make new-pipeline NAME=weather"
    assert len(commands) >= 10
    assert len([change for _, change in STEPS if change]) == 4


def test_the_weather_becomes_a_table_that_others_use(copy: Path) -> None:
    ports = free_port(), free_port()
    outputs = {command: follow(copy, command, change, ports) for command, change in STEPS[:OWN]}

    found = changed(copy)
    assert {name for name, state in found.items() if state == "M"} <= GENERATED, "a shared file was changed"
    assert "contracts/weather/weather.yaml" in found
    (query,) = [output for command, output in outputs.items() if command.startswith("make query")]
    assert "2023-" in query
    assert "weather: the first of 365 rows" in outputs["make demo PIPELINE=weather"]
    assert (
        "weather: 1 files, 0 faults" in outputs[".local/venvs/contracts/bin/python -m contracts test weather results"]
    )


def test_a_file_of_ones_own_becomes_a_pipeline_by_its_address(copy: Path, web: str) -> None:
    new, demo = [command for command, _ in STEPS[OWN:]]
    assert new.split()[:3] == ["make", "new-pipeline", "NAME=my_table"]
    assert demo.split()[:3] == ["make", "demo", "PIPELINE=my_table"]
    follow(copy, new.replace(ADDRESS, web), "", (0, 0))

    contract = (copy / "contracts/my_table/my_table_file.yaml").read_text()
    found = re.findall(
        r"(?m)^      - name: (\w+)(?:\n        physicalName.*)?\n.*\n        physicalType: (\w+)$", contract
    )
    assert found == [("station", "string"), ("opened", "date"), ("rides", "double")]
    assert f'default="{web}"' in (copy / "dags/taxiway/my_table/settings.py").read_text()


@pytest.mark.full
def test_a_file_of_ones_own_is_loaded_from_its_address(copy: Path, web: str) -> None:
    if not (copy / "contracts/my_table").exists():
        follow(copy, STEPS[OWN][0].replace(ADDRESS, web), "", (0, 0))
    output = follow(copy, STEPS[OWN + 1][0].replace(ADDRESS, web), "", (free_port(), free_port()))
    assert "my_table: the first of 40 rows" in output
    assert "malformed 1" in output

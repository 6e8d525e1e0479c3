"""The wheel of local_aws in an environment without the rest of this repository: what README.md shows, run there."""

import ast
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.local_aws.endpoint import ROOT

UV = ROOT / ".local/venvs/uv/bin/uv"
README = (ROOT / "local_aws/README.md").read_text(encoding="utf-8")


def shown(name: str) -> str:
    """Return an example of README.md."""
    (found,) = re.findall(rf"(?ms)^```python {name}\n(.*?)^```$", README)
    return str(found)


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Run a command outside of the repository; return what it prints."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "TAXIWAY_"))}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=own | environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Installed:
    """An environment, a folder to work in, and the endpoint that runs there."""

    python: Path
    folder: Path
    url: str = ""

    def example(self, name: str) -> str:
        """Run an example of README.md as a program; return what it prints."""
        program = self.folder / f"{name}.py"
        program.write_text(shown(name), encoding="utf-8")
        credentials = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
        return run(self.python, program, cwd=self.folder, AWS_ENDPOINT_URL=self.url, **credentials)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it, at the versions of requirements/local-aws.txt and with their hashes."""
    if not UV.is_file():
        pytest.skip("uv is not installed: say make setup")
    folder = tmp_path_factory.mktemp("wheel")
    before = sorted(ROOT.glob("local_aws/**/*"))
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT / "local_aws", cwd=folder)
    assert [path for path in sorted(ROOT.glob("local_aws/**/*")) if path not in before] == []
    (wheel,) = folder.glob("*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    locks = [word for lock in ("local-aws", "dev") for word in ("--constraint", ROOT / f"requirements/{lock}.txt")]
    python = folder / "venv/bin/python"
    run(UV, "pip", "install", "--quiet", "--python", python, *locks, f"{wheel}[pytest]", cwd=folder)
    return Installed(python, folder)


@pytest.fixture(scope="module")
def installed(environment: Installed) -> Iterator[Installed]:
    """Run `local-aws` of that environment."""
    command = [
        str(environment.python.with_name("local-aws")),
        "--port",
        "0",
        "--data",
        "data",
        "--state-seconds",
        "0.1",
    ]
    server = subprocess.Popen(command, cwd=environment.folder, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        environment.url = server.stdout.readline().removeprefix("AWS on this machine: ").split()[0]
        yield environment
    finally:
        server.terminate()
        assert server.wait(30) == 0


def test_it_is_complete(environment: Installed) -> None:
    """Every module can be imported, from there; and what is read beside them is there too."""
    program = """if True:
        import importlib, pathlib, pkgutil, local_aws
        names = [each.name for each in pkgutil.walk_packages(local_aws.__path__, "local_aws.")]
        programs = ("subreaper", "sail_program", "spark_training")
        for name in names:
            if not name.endswith(programs):
                importlib.import_module(name)
        folder = pathlib.Path(local_aws.__path__[0])
        print(len(names), folder, *(path.name for path in folder.rglob("*.*") if path.suffix not in (".py", ".pyc")))
    """
    count, folder, *others = run(environment.python, "-c", program, cwd=environment.folder).split()
    assert int(count) > 60
    assert Path(folder).is_relative_to(environment.folder)
    assert {"README.md", "log4j2.properties", "spark.txt", "spark_jars.sha256"} <= set(others)
    assert "pyproject.toml" not in others


def test_its_metadata(environment: Installed) -> None:
    program = (
        "from importlib.metadata import metadata; import json; print(json.dumps(metadata('taxiway-local-aws').json))"
    )
    found = json.loads(run(environment.python, "-c", program, cwd=environment.folder))
    assert (found["license_expression"], found["requires_python"]) == ("Apache-2.0", "<3.14,>=3.11")
    assert found["description"] == README


def test_the_command_starts_and_is_healthy(installed: Installed) -> None:
    with urllib.request.urlopen(f"{installed.url}/_local_aws/health") as answer:
        assert json.load(answer)["status"] == "ok"
    assert (installed.folder / "data" / "state.db").is_file()


def test_the_first_emr_step(installed: Installed) -> None:
    assert "'State': 'COMPLETED'" in installed.example("emr")


def test_the_first_serverless_run(installed: Installed) -> None:
    state, url = installed.example("serverless").splitlines()
    assert state == "SUCCESS Job run has completed successfully."
    with urllib.request.urlopen(url) as answer:
        assert "<pre>1000\n" in answer.read().decode()


def test_the_first_athena_query(installed: Installed) -> None:
    header, row = [
        [value["VarCharValue"] for value in each["Data"]] for each in ast.literal_eval(installed.example("athena"))
    ]
    assert (header, row) == (["zone", "trips", "miles"], ["4", "2", "2.0"])


def test_the_first_tests(environment: Installed) -> None:
    """The plugin is found by its entry point."""
    (environment.folder / "test_first.py").write_text(shown("test"), encoding="utf-8")
    printed = run(environment.python, "-m", "pytest", "-q", "test_first.py", cwd=environment.folder)
    assert "2 passed" in printed

"""The dbt project in its own environment, on DuckDB."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from laptop import dbt
from taxiway.warehouse import dbt_sources
from tests.tools import ROOT, absent
from tests.warehouse import rows

PROGRAM = ROOT / ".local/venvs/warehouse/bin/dbt"


@dataclass
class Dbt:
    """dbt with a database of its own."""

    folder: Path

    @property
    def database(self) -> Path:
        """The database."""
        return self.folder / "warehouse.duckdb"

    def run(self, *words: str, status: int = 0, project: Path = dbt_sources.PROJECT) -> str:
        """Run dbt to its end; return what it printed."""
        if not PROGRAM.exists():
            absent("tool", f"{PROGRAM} is not installed: make test installs it")
        places = ["--project-dir", project, "--profiles-dir", project]
        places += ["--target-path", self.folder / "target", "--log-path", self.folder / "logs", "--no-use-colors"]
        done = subprocess.run(
            [PROGRAM, *words, *map(str, places)], capture_output=True, text=True, timeout=300, cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "TAXIWAY_DUCKDB": str(self.database)},
        )  # fmt: skip
        assert done.returncode == status, done.stdout[-5000:] + done.stderr[-2000:]
        return done.stdout

    @property
    def results(self) -> dict[str, str]:
        """The status of each node of the last build by its name."""
        found = json.loads((self.folder / "target/run_results.json").read_text())["results"]
        parts = {each["unique_id"]: each["unique_id"].split(".") for each in found}  # a test's id ends with a hash
        return {
            parts[each["unique_id"]][3 if each["unique_id"].startswith("unit_test.") else 2]: each["status"]
            for each in found
        }

    def query(self, sql: str) -> list[Any]:
        """Ask the database."""
        with duckdb.connect(str(self.database), read_only=True) as database:
            return database.execute(sql).fetchall()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Dbt]:
    """Return a database whose sources have small rows."""
    copy = tmp_path_factory.mktemp("copy")
    list(rows.write(copy / "lake"))

    def make(folder: Path) -> Dbt:
        made = Dbt(folder)
        dbt.make_views(made.database, dbt_sources.tables(), copy)
        return made

    return make


@pytest.fixture(scope="session")
def built(sources: Callable[[Path], Dbt], tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """The whole project, built once with its unit tests."""
    made = sources(tmp_path_factory.mktemp("built"))
    made.run("build")
    return made

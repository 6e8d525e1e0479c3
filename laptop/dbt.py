"""The analyst's loop: dbt on DuckDB, over a copy of the published tables that the project's models name."""

import json
import os
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import duckdb

from console.errors import UserError
from console.options import ROOT
from console.output import Reporter
from laptop.config import Config
from laptop.results import copy_folder
from taxiway.core.settings import Settings
from taxiway.lake import Lake, Table, TableSet
from taxiway.warehouse import dbt_sources
from taxiway.warehouse.dbt_sources import PROJECT, Places

_TYPES = {"string": "VARCHAR", "map<string,string>": "MAP(VARCHAR, VARCHAR)"}
COPIED = "copied.json"  # says which versions the copy has
_ATHENA = {"athena", "-tathena"}
_NOTHING_IS_AN_ERROR = json.dumps({"error": ["NoNodesForSelectionCriteria"]})


def is_copied(config: Config) -> bool:
    """Return whether there is a copy of the published tables, which dbt can read while the platform does not run."""
    return bool(_kept(_folder(config) / COPIED))


def _folder(config: Config) -> Path:
    return config.state.parent / "dbt"


def run(config: Config, words: str, report: Reporter) -> int:
    """Bring the copy up to date, if the platform runs, and run dbt; return its exit status.

    Args:
        config: of the platform, whose lake is read.
        words: what dbt is asked, such as ``build -s +zone_month``; empty: build what has changed since the last time,
            models and tables, and what failed then.
        report: for what is told.

    Raises:
        UserError: nothing is published, or the words cannot be split.
    """
    try:
        asked = shlex.split(words)
    except ValueError as error:
        raise UserError(f"ARGS={words} cannot be read ({error}): close its quotes.") from None
    folder = _folder(config)
    record, pending = folder / COPIED, folder / "pending.json"
    copied: Places = _kept(record) or {}
    changed = set(_kept(pending) or ())
    tables = dbt_sources.tables()
    database = folder / "warehouse.duckdb"
    runs = config.aws_is_healthy()
    config.apply_aws_environment()  # whatever dbt is asked, it reaches no real account
    if not runs and _ATHENA & {word.removeprefix("--target=") for word in asked}:
        raise UserError(
            "The target athena is that of the platform, which does not run: say make up, then make dbt again."
        )
    if runs:
        lake = Lake(Settings.read(), boto3.Session(), TableSet("warehouse"))
        now = dbt_sources.published(lake, tables.values())
        if not now:
            raise UserError("Nothing is published yet: run make demo PIPELINE=warehouse first.")
        changed |= _copy(tables, copied, now, folder, pending, report)
        record.write_text(json.dumps(now))
    elif not copied:
        raise UserError(
            "The platform does not run, and nothing was copied from it yet: say make up, then make dbt again."
        )
    else:
        made = datetime.fromtimestamp(record.stat().st_mtime, UTC).astimezone()
        report.plain(
            f"The platform does not run: dbt reads the copy in {folder}, of {made:%Y-%m-%d %H:%M}; "
            "make up, then make dbt brings it up to date."
        )
    fresh = not database.exists()
    make_views(database, tables, folder)
    if asked:
        if asked[:2] == ["source", "freshness"] and not {"-s", "--select"} & set(asked):
            asked += ["--select", *(f"source:{name}" for name in tables)]  # no other source is copied
        # A model that is not there is no success.
        return _dbt(config, asked, folder, database, {"DBT_WARN_ERROR_OPTIONS": _NOTHING_IS_AN_ERROR})
    state, target, asked = folder / "state", folder / "target", ["build"]
    if not fresh and (state / "run_results.json").exists():
        names = [name for name, table in tables.items() if table.name in changed]
        selected = ["state:modified+", "result:error+", "result:skipped+", "1+result:fail+"]
        asked += ["--select", *selected, *(f"source:{name}+" for name in names), "--state", str(state)]
    (target / "run_results.json").unlink(missing_ok=True)  # those of another command
    status = _dbt(config, asked, folder, database, {})
    if (target / "run_results.json").exists():
        state.mkdir(exist_ok=True)
        for name in ("manifest.json", "run_results.json"):
            shutil.copyfile(target / name, state / name)
        pending.unlink(missing_ok=True)
    return status


def _kept(file: Path) -> Any:
    """Return the JSON of a file; None if there is none, or one that was cut: the next copy makes it."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _copy(
    tables: dict[str, Table], copied: Places, now: Places, folder: Path, pending: Path, report: Reporter
) -> set[str]:
    """Copy the versions that are new, remove those that are gone; return the names of the tables that changed."""
    s3, changed = boto3.client("s3"), set()
    for table in tables.values():
        old, new = copied.get(table.name, {}), now.get(table.name, {})
        moved = [period for period, place in new.items() if old.get(period) != place]
        gone = old.keys() - new.keys()
        if moved or gone:
            changed.add(table.name)
            pending.parent.mkdir(parents=True, exist_ok=True)
            pending.write_text(json.dumps(sorted({*(_kept(pending) or ()), table.name})))
        for period in gone:
            shutil.rmtree(table.contract.partition_folder(str(folder / "lake"), period), ignore_errors=True)
        for period in moved:
            copy_folder(s3, new[period], Path(table.contract.partition_folder(str(folder / "lake"), period)))
        if moved:
            report.plain(f"Copied {table.name}: {', '.join(moved) if any(moved) else 'the table'}.")
    return changed


def make_views(path: Path, tables: dict[str, Table], folder: Path) -> None:
    """Make the views that are the project's sources; one of which nothing is published is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _make_views(path, tables, folder)
    except duckdb.Error as error:
        why = str(error).splitlines()[0]
        if "lock" in why:
            raise UserError(f"{path} is open in another program ({why}): close it, then make dbt again.") from None
        raise UserError(
            f"{path} cannot be used ({why}): remove {path.parent}, which make up, then make dbt makes anew."
        ) from None


def _make_views(path: Path, tables: dict[str, Table], folder: Path) -> None:
    schema = Settings.read().glue_database
    with duckdb.connect(str(path)) as database:
        database.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        for table in tables.values():
            keys = table.contract.partition_keys
            columns = {name: _TYPES.get(type_, type_) for name, type_ in table.columns.items()} | dict.fromkeys(
                keys, "VARCHAR"
            )
            place = folder / "lake" / table.path
            nulls = (f'NULL::{type_} AS "{name}"' for name, type_ in columns.items())
            select = f"SELECT {', '.join(nulls)} WHERE false"
            if any(place.rglob("*.parquet")):
                hive = ", ".join(f"'{key}': VARCHAR" for key in keys)
                options = (
                    f", hive_partitioning = true, hive_types = {{{hive}}}" if keys else ", hive_partitioning = false"
                )
                select += f" UNION ALL BY NAME FROM read_parquet('{place}/**/*.parquet', union_by_name = true{options})"
            database.execute(f'CREATE OR REPLACE VIEW "{schema}"."{table.name}" AS {select}')


def _dbt(config: Config, words: list[str], folder: Path, database: Path, options: dict[str, str]) -> int:
    # Not as options: each command of dbt knows others of them.
    environment = {
        **os.environ,
        **options,
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "TAXIWAY_DUCKDB": str(database),
    }
    environment.pop("PYTHONPATH", None)
    program = config.venvs / "warehouse/bin/dbt"
    try:
        return subprocess.run([program, *words], cwd=ROOT, env=environment, check=False).returncode
    except OSError as error:
        raise UserError(
            f"{program} cannot be started ({error.strerror}): remove {program.parents[1]}, then make dbt installs it."
        ) from None

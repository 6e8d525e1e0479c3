"""Writes the page on all tables to this machine, from the lake of the local platform."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import sqlalchemy as sa

from console.errors import UserError
from laptop.config import Config
from taxiway.core.contracts import ContractError
from taxiway.core.settings import Settings, SettingsError


def place(config: Config) -> Path:
    """Return where the page is written."""
    return config.state / "reports" / "data-docs" / "index.html"


def write(config: Config, say: Any) -> Path:
    """Write the page and return its path.

    Args:
        config: of the platform, whose local AWS runs and is that of this process.
        say: is told what is on the page and what is not; takes a sentence.

    Raises:
        UserError: a contract or a setting cannot be used, or the folder cannot be written.
    """
    from taxiway import catalogue
    from taxiway.data_docs import page
    from taxiway.data_docs.gathering import gather
    from taxiway.data_docs.settings import DataDocsSettings

    began, path = time.monotonic(), place(config)
    database = sa.URL.create("sqlite", database=str(config.catalogue_file))
    try:
        found = gather(
            Settings.read(),
            boto3.Session(),
            DataDocsSettings.read(),
            now=datetime.now(UTC),
            database=catalogue.open_engine(database),
        )
    except (ContractError, SettingsError) as error:
        raise UserError(str(error)) from None
    for fault in found.faults:
        say(fault)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")  # who reads the page never sees half of it
        new.write_text(page.render(found), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): name another place with STATE=….") from None
    say(f"{len(found.tables)} tables, {len(found.edges)} links of lineage, in {time.monotonic() - began:.1f} s.")
    return path

"""Full refresh: the whole source becomes the next version of the table."""

import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from taxiway.lake import Lake, join_inputs
from taxiway.lake.csv_file import open_csv, open_scratch
from taxiway.lake.source import SourceError, fetch
from taxiway.lake.tables import Table
from taxiway.warehouse import rows
from taxiway.warehouse.loads import Loaded


class ShrunkError(SourceError):
    """A source has lost so many rows that something is wrong with it."""

    kind = "shrunk"


def load(
    lake: Lake,
    table: Table,
    address: str,
    version: str,
    *,
    shrink_below: float,
    scratch_dir: str | None = None,
    again: bool = False,
) -> Loaded:
    """Write the whole source as a new version; nothing is published.

    A source whose content is that of the published version, or of one that was rolled back, by the same version of the
    contract, is not written again.

    Args:
        lake: with the table as its set.
        table: the raw table.
        address: of the CSV: ``https``, ``http``, ``file`` or ``s3``.
        version: of what is written.
        shrink_below: a source with fewer rows than this share of those published is refused.
        scratch_dir: folder for temporary files.
        again: write a source that has not changed, or has shrunk, too.

    Raises:
        SourceError: the source cannot be used; a subclass says that it has shrunk.
    """
    began = time.time()
    published = lake.partition(table, "")
    with TemporaryDirectory(prefix="taxiway-load-", dir=scratch_dir) as folder:
        scratch = Path(folder)
        file = scratch / "source.csv"
        sha256 = fetch(address, file, lake.session)
        inputs = join_inputs([sha256, f"contract {table.contract.raw.get('version')}"])
        loaded = Loaded(
            table=table.name,
            parts=[],
            reasons={},
            changes={},
            annotations={"loaded_until": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds")},
            began=began,
            note="",
        )
        if published and inputs in published.processed_inputs and not again:
            return loaded
        with open_scratch(scratch) as database:
            found = open_csv(file, address, table.contract)
            rows.read(database, table, found)
            rows.judge(database, table, as_view=True)
            rejected = rows.rejected_of(table)
            columns = ", ".join(f'"{name}"' for name in table.columns)
            (source,) = database.execute("select count(*) from judged").fetchone() or (0,)
            part = rows.write_part(
                lake,
                database,
                table,
                period="",
                version=version,
                inputs=inputs,
                source=source,
                accepted=f"select {columns} from judged where _reason is null",
                rejected=rejected,
                scratch=scratch,
            )
            loaded["reasons"] = rows.reasons(database, rejected)
    if not part["accepted"]:
        raise SourceError(
            f"None of the {source:,} rows of the source of {table.name} can be taken ({_most(loaded['reasons'])}): "
            "look at its values. The published table stays."
        )
    before = int(published.parameters["rows"]) if published else 0
    if not again and part["accepted"] < shrink_below * before:
        raise ShrunkError(
            f"{table.name} would shrink from {before:,} to {part['accepted']:,} rows, below {shrink_below:.0%}: look "
            "at its source, and run the DAG with the parameter force if that is right. The published table stays."
        )
    loaded["parts"] = [part]
    loaded["changes"] = {"inserted": part["accepted"]} if not published else {}
    loaded["note"] = found.note
    return loaded


def _most(reasons: dict[str, int]) -> str:
    return max(reasons, key=lambda reason: reasons[reason]) if any(reasons.values()) else "it has none"

"""Time zones of the times in Parquet files: which file names one, and which can be read as New York's wall clock.

Parquet knows only whether a time is an instant (in UTC) or a wall-clock time. The name of an instant's zone, if the
writer had one, is in metadata of the writer's own: Arrow's schema, or that of pandas.
"""

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow import parquet

NEW_YORK = "America/New_York"
# The links to it in the tz database (file `backward`); EST5EDT is one since 2024b, with equal rules since 1967.
_NEW_YORK = {name.lower() for name in (NEW_YORK, "US/Eastern", "EST5EDT")}
# UTC, its links in the tz database, and offsets of zero.
_UTC = {
    *("utc", "uct", "gmt", "gmt0", "gmt+0", "gmt-0", "greenwich", "universal", "zulu"),
    *("z", "+00:00", "-00:00", "+0000", "-0000", "+00", "-00"),
}

ARROW_SCHEMA, PANDAS = "ARROW:schema", "pandas"  # keys of the metadata


def is_new_york(zone: str) -> bool:
    """Return whether instants of this zone are to be converted to New York's wall clock.

    If not, the zone is UTC: a label that some writers put on wall-clock times (DuckDB's TIMESTAMPTZ has no other), so
    the times are taken as they are.

    Raises:
        ValueError: it is another zone; the text continues a sentence that names the column.
    """
    name = zone.lower()
    if name in _NEW_YORK:
        return True
    if name.removeprefix("etc/") in _UTC:
        return False
    raise ValueError(
        f"is in the time zone {zone!r}, but must be a wall-clock time of New York without a zone, "
        f"or name the zone {NEW_YORK}; convert it"
    )


def of_instants(file: "parquet.ParquetFile") -> dict[str, str]:
    """Return the zone of each column of instants, ``UTC`` where the file names none.

    Args:
        file: open; needs pyarrow.
    """
    import pyarrow as pa

    metadata = {key.decode(): value for key, value in (file.metadata.metadata or {}).items()}
    if ARROW_SCHEMA in metadata:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(metadata[ARROW_SCHEMA])))
        types = {field.name: getattr(field.type, "value_type", field.type) for field in schema}
        named = {name: type_.tz for name, type_ in types.items() if isinstance(type_, pa.TimestampType) and type_.tz}
    else:
        named = of_pandas(metadata)
    int96 = {
        column.path for column in map(file.schema.column, range(len(file.schema))) if column.physical_type == "INT96"
    }
    types = {field.name: getattr(field.type, "value_type", field.type) for field in file.schema_arrow}
    return {
        name: named.get(name, "UTC")
        for name, type_ in types.items()
        if isinstance(type_, pa.TimestampType) and (type_.tz or name in int96)
    }


def of_pandas(metadata: Mapping[str, str | bytes]) -> dict[str, str]:
    """Return the zones that the metadata of pandas names, by column; fastparquet writes no other."""
    try:
        columns = json.loads(metadata.get(PANDAS, "{}")).get("columns", [])
        found = {column.get("name"): (column.get("metadata") or {}).get("timezone") for column in columns}
    except (ValueError, AttributeError, TypeError):  # not written by pandas
        return {}
    return {str(name): str(zone) for name, zone in found.items() if zone}

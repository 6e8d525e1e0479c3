"""The queries of the API logs: a file each, kept in Athena under ``api_logs_<file>``, where people can ask them too."""

from functools import cache
from pathlib import Path

PREFIX = "api_logs_"


@cache
def queries() -> dict[str, str]:
    """Return the queries by their names in Athena."""
    return {f"{PREFIX}{file.stem}": file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("*.sql")}

"""Parts of SQL that DuckDB and Athena write alike."""


def literal(text: str) -> str:
    """Return a text as SQL writes it: in single quotes, its own doubled."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name as SQL writes it whatever it is: in double quotes, its own doubled."""
    return '"' + name.replace('"', '""') + '"'

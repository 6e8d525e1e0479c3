"""The table of clients in local_aws/README.md."""

from pathlib import Path

from tests.clients.table import README, ROWS, file_of, runs, with_table


def test_the_table_is_that_of_the_tests() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text, "python -m tests.clients.table"


def test_every_client_is_in_the_table() -> None:
    tested = {file.name for file in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert {file_of(row).name for row in ROWS} == tested
    assert all(text and "|" not in text for row in ROWS for text in runs(row)), "a test says what it runs"

"""What is proposed for a CSV file: names, types, keys; and files for which nothing is."""

import csv
import io
from pathlib import Path

import duckdb
import pytest

from taxiway.core import contracts
from taxiway.lake.csv_file import convert, open_csv
from templates import csv_columns
from templates.csv_columns import SQL_WORDS, CsvFault, propose
from tests.tools import ROOT


def columns(text: str) -> dict[str, str]:
    """Return the type of each column, with ``!`` if it is required and ``*`` if it is the key."""
    marks = {False: "", True: "!"}
    return {
        each["name"]: each["type"] + marks[each["required"]] + "*" * each["key"]
        for each in propose(text.encode()).columns
    }


def test_the_narrowest_type_that_all_values_have() -> None:
    text = (
        "n,x,d,t,s,zip,empty\n1,1,2024-02-29,2024-01-01 10:00:00,a,01234,\n"
        "-20,2.5,2023-01-01,2024-01-01T10:00:01.5,1,99999,\n"
    )
    assert columns(text) == {
        "n": "bigint!*",
        "x": "double!",
        "d": "date!",
        "t": "timestamp!",
        "s": "string!",
        "zip": "string!",  # the zero before it would be lost
        "empty": "string",
    }


@pytest.mark.parametrize("value", ["2023-02-30", "31/12/2023", "1,5", "12345678901234567890", "NaN", "1e", "."])
def test_what_is_not_sure_stays_text(value: str) -> None:
    assert columns(f'a,b\n"{value}",x\n')["a"] == "string!*"


def test_a_column_with_an_empty_value_is_not_required_and_no_key() -> None:
    assert columns("a,b\n1,x\n,y\n") == {"a": "bigint", "b": "string!*"}
    assert columns("a,b\n1,x\n1,x\n") == {"a": "bigint!", "b": "string!"}, "no column has values that all differ"


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("Tmax °F,TMIN", ["tmax_f", "tmin"]),
        ("order,2nd place", ["order_", "c_2nd_place"]),
        ("pickupZone,year", ["pickup_zone", "year_"]),
        ("rowid,At,No.", ["rowid_", "at_", "no"]),
        (",b", ["column_1", "b"]),
    ],
)
def test_names_are_those_that_sql_takes(header: str, names: list[str]) -> None:
    assert list(columns(f"{header}\n{','.join('123'[: len(names)])}\n")) == names


def test_no_proposed_name_needs_quotes_in_duckdb() -> None:
    with duckdb.connect() as database:
        found = database.execute("select keyword_name from duckdb_keywords()").fetchall()
        words = {*(word for (word,) in found), *SQL_WORDS.split(), "rowid", "user", "session_user"}
        for word in sorted(words):
            (name, other) = columns(f"{word},b\n1,2\n")
            assert (name, other) in ((word, "b"), (f"{word}_", "b"))
            query = f"select {name}, t.{name}, count({name}) from t where {name} < 8 group by {name} order by {name}"
            rows = database.execute(f'with t as (select 7 as "{name}") {query}').fetchall()
            assert rows == [(7, 7, 1)], word


@pytest.mark.parametrize(
    ("delimiter", "line"), [(";", "a;b\n1,5;x\n"), ("\t", "a\tb\n1,5\tx\n"), ("|", "a|b\n1,5|x\n")]
)
def test_the_delimiter_is_that_of_the_header(delimiter: str, line: str) -> None:
    found = propose(line.encode())
    assert found.sample == line.encode()
    assert [each["header"] for each in found.columns] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ('"Name, first, middle";"Age"\n"Ann, B";42\n', ["name, first, middle", "age"]),
        ("Name, Vorname, Titel;Age\nAnn;42\nBob;43\n", ["name, vorname, titel", "age"]),
        ("Name, Vorname, Titel;Age\nAnn, B, Dr.;42\n", ["name, vorname, titel", "age"]),
        ("a|b\nx,y;z|1,5\nx|2,5\n", ["a", "b"]),
        ("a; b\nx; 1,5\n", ["a", "b"]),
        ('\n  \r\n"two\nlines";b\n1;2\n', ["two\nlines", "b"]),
        ("\n\ta\n1\t2\n", ["", "a"]),
    ],
)
def test_a_header_is_understood_as_the_rows_are(text: str, header: list[str]) -> None:
    assert [each["header"] for each in propose(text.encode()).columns] == header


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "\n \na,b\n1,2\n",
        '"two\nlines";b\n1;2\n',
        '\n"x ""\n\n, y";,\n1;2\n',
        '"two\r\nlines",b\r\n1,2\r\n',
        "a,b\r1,2\r",
        "No,y,off,At,rowid\n1,2,3,4,5\n",
        ",b\n1,2\n",
        "É,ü\n1,2\n",
    ],
)
def test_what_is_proposed_can_be_read(text: str, tmp_path: Path) -> None:
    found = propose(text.encode())
    properties = [
        {
            "name": each["name"],
            "physicalName": each["header"],
            "logicalType": each["kind"],
            "physicalType": each["type"],
        }
        for each in found.columns
    ]
    raw = {"schema": [{"physicalName": "t", "customProperties": [{"property": "path", "value": "t"}]}]}
    raw["schema"][0]["properties"] = properties
    for content in (text.encode(), found.sample):
        file = tmp_path / "file.csv"
        file.write_bytes(content)
        opened = open_csv(file, "https://x/file.csv", contracts._contract("t", "t", raw))
        assert opened.missing == []
        assert convert(opened, tmp_path / "rows.parquet") == 1
        (tmp_path / "load.duckdb").unlink()


@pytest.mark.parametrize(
    ("end", "rows"),
    [("", 8), ("9,", 9), ('9,"x\n', 9), ('9,"x\ny"', 9), ("9,y\n10", 10)],
    ids=["row", "fields", "quote", "quoted field", "row begun"],
)
def test_a_row_that_is_cut_is_none(end: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = ("a,b\n" + "".join(f"{number},x\n" for number in range(9)) + end).encode()
    monkeypatch.setattr(csv_columns, "MOST_BYTES", len(content))
    found = propose(content)
    assert found.rows == rows
    assert len([*csv.reader(io.StringIO(found.sample.decode()))]) == 1 + rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_sample_is_in_utf_8(encoding: str) -> None:
    assert propose("a,b\né,ü\n".encode(encoding)).sample.decode() == "a,b\né,ü\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"\x00\x01,\x02", "is no text"),
        (b"<!DOCTYPE html><html>", "is no CSV but HTML, XML or JSON"),
        (b'[{"a": 1}]', "is no CSV but HTML, XML or JSON"),
        (b"a,b\n", "has a header and no row"),
        (b"just words\nof a letter\n", "is not CSV: its first line is no header"),
        (b'a,b\n"x"y,1\n', "is not CSV: "),
        (b"a,b\n1\n2\n", "has no row with as many fields as its header"),
        (b"a,A\n1,2\n", "has the column a twice"),
        ("É,é\n1,2\n".encode(), "has the column é twice"),
        (b"a,b,,\n1,2,3,4\n", "has more than one column without a name: give each a name of its own"),
        (b'{"a": "' + 200_000 * b"x" + b'"}', "is no CSV but HTML, XML or JSON"),
        (b'"' + 200_000 * b"x" + b'"', "is not CSV: "),
    ],
)
def test_a_file_that_is_no_csv_is_one_sentence(content: bytes, fault: str) -> None:
    with pytest.raises(CsvFault, match=f"^{fault}"):
        propose(content)


def test_the_sample_of_the_template_is_understood() -> None:
    found = propose((ROOT / "templates/central_park_weather_2023.csv").read_bytes())
    types = {each["name"]: each["type"] for each in found.columns}
    assert (types["date"], types["prcp"], types["tmax"], found.rows) == ("date", "double", "bigint", 365)
    assert [each["name"] for each in found.columns if each["key"]] == ["date"]

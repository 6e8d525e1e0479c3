"""What is proposed for a CSV file: names, types, keys; and files for which nothing is."""

import pytest

from templates.csv_columns import CsvFault, propose
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
        (",b", ["column_1", "b"]),
    ],
)
def test_names_are_those_that_sql_takes(header: str, names: list[str]) -> None:
    assert list(columns(f"{header}\n1,2\n")) == names


@pytest.mark.parametrize(
    ("delimiter", "line"), [(";", "a;b\n1,5;x\n"), ("\t", "a\tb\n1,5\tx\n"), ("|", "a|b\n1,5|x\n")]
)
def test_the_delimiter_is_that_of_the_header(delimiter: str, line: str) -> None:
    found = propose(line.encode())
    assert found.sample == line.encode()
    assert [each["header"] for each in found.columns] == ["a", "b"]


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

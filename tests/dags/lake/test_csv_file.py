"""CSV files: every row is stored as text or as a fault, and what is no such file is one sentence."""

import gzip
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from pyarrow import parquet

from taxiway.core.contracts import Column, Contract
from taxiway.core.settings import Settings
from taxiway.lake import Lake
from taxiway.lake.csv_file import FAULT, RAW, ROW, CsvFile, convert, open_csv, store
from taxiway.lake.source import SourceError
from taxiway.warehouse.tables import alone, raw_tables


def contract(optional: bool, names: tuple[str, ...] = ("day", "rain")) -> Contract:
    columns = {
        name: Column(name, "string", name, "string", False, optional and name == "rain", None, None, {}, (), {})
        for name in names
    }
    return Contract("any_file", "any_file", "any_file", "raw/any", columns, (), (), {}, {})


def opened(content: bytes | str, tmp_path: Path, *, optional: bool = False) -> CsvFile:
    file = tmp_path / "file.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_csv(file, "https://me:word@x/file.csv?token=abc", contract(optional))


def rows(content: bytes | str, tmp_path: Path, *, optional: bool = False) -> list[dict[str, Any]]:
    count = convert(opened(content, tmp_path, optional=optional), tmp_path / "rows.parquet")
    found: list[dict[str, Any]] = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(found) == count
    return found


def test_values_are_the_text_of_the_file(tmp_path: Path) -> None:
    found = rows('Rain , DAY,_c0\r\n" 0.5 ",2023-01-01,x\r\n\r\n,"a\nb, ""c""",\r\n', tmp_path)
    assert [(each[ROW], each["day"], each["rain"], each[FAULT]) for each in found] == [
        (1, "2023-01-01", "0.5", None),
        (2, 'a\nb, "c"', None, None),
    ]
    assert json.loads(found[0][RAW]) == {"rain": " 0.5 ", "day": "2023-01-01", "_c0": "x"}
    assert list(found[0]) == [ROW, "day", "rain", FAULT, RAW]


def test_rows_that_are_none_are_faults_and_stay(tmp_path: Path) -> None:
    found = rows('day,rain\n1,2\n1\n1,2,3\nday,rain\n\n"1"0,2\n3,4\n', tmp_path)
    assert [(each[FAULT], each[RAW]) for each in found if each[FAULT] == "malformed"] == [
        ("malformed", "1"),
        ("malformed", "1,2,3"),
        ("malformed", '"1"0,2'),
    ]
    assert [each["day"] for each in found if not each[FAULT]] == ["1", "3"]
    assert [each[FAULT] for each in found].count("header_again") == 1


@pytest.mark.parametrize("before", ["", "\n", "\n \n\n"])
@pytest.mark.parametrize("header", ["day,rain", '"Day",Rain'])
def test_blank_lines_before_the_header_are_no_rows(before: str, header: str, tmp_path: Path) -> None:
    found = rows(f"{before}{header}\n1,2\n\n3,4,5\n", tmp_path)
    assert [(each["day"], each[FAULT], each[RAW]) for each in found if each[FAULT]] == [(None, "malformed", "3,4,5")]
    assert [each["day"] for each in found if not each[FAULT]] == ["1"]


def test_a_name_in_quotes_may_have_line_breaks(tmp_path: Path) -> None:
    names = ("day", "rain\nin mm", "of; all\n\n, ones")
    file = tmp_path / "file.csv"
    file.write_text('\nDay;"Rain\nin mm";"of; all\n\n, ones"\n1;2;3\n4;5\n')
    csv = open_csv(file, file.as_uri(), contract(False, names))

    assert convert(csv, tmp_path / "rows.parquet") == 2
    first, second = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert ([first[name] for name in names], first[FAULT]) == (["1", "2", "3"], None)
    assert (second[RAW], second[FAULT]) == ("4;5", "malformed")


def test_a_column_may_have_the_name_of_duckdbs_number_of_a_row(tmp_path: Path) -> None:
    names = ("RowID", "day", "order")
    file = tmp_path / "file.csv"
    file.write_text("day,rowid,order\n" + "".join(f"{number},x{number},y\n" for number in range(5000)) + "1\n")
    csv = open_csv(file, file.as_uri(), contract(False, names))

    assert convert(csv, tmp_path / "rows.parquet") == 5001
    found = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    good = [each for each in found if not each[FAULT]]
    assert [(each[ROW], each["RowID"]) for each in good] == [(number + 1, f"x{number}") for number in range(5000)]
    assert [each[ROW] for each in found if each[FAULT]] == [5002]


@pytest.mark.parametrize(
    ("encoding", "mark", "delimiter"),
    [
        ("utf-8", b"", ","),
        ("utf-8", b"\xef\xbb\xbf", ","),
        ("utf-16-le", b"\xff\xfe", "\t"),
        ("utf-16-be", b"\xfe\xff", ","),
        ("cp1252", b"", ";"),
        ("utf-8", b"", "|"),
    ],
)
def test_encodings_and_delimiters(encoding: str, mark: bytes, delimiter: str, tmp_path: Path) -> None:
    content = mark + "day,rain\né€,1\n".replace(",", delimiter).encode(encoding)
    assert rows(content, tmp_path)[0]["day"] == "é€"
    note = opened(content, tmp_path).note
    assert (encoding.upper() in note) == (encoding != "utf-8")
    assert ("Its values are between" in note) == (delimiter != ",")


def test_a_code_page_that_is_not_that_of_windows_has_a_character_for_every_byte(tmp_path: Path) -> None:
    assert rows(b"day,rain\n\x81\xe9,1\n", tmp_path)[0]["day"] == "\x81é"


def test_further_and_missing_columns_are_told(tmp_path: Path) -> None:
    text = "day,snow,\n1,2,3\n"
    assert rows(text, tmp_path, optional=True)[0]["rain"] is None
    note = opened(text, tmp_path, optional=True).note
    assert note == (
        "Columns that the contract does not have are left out: snow, ''. Columns that it does not have are null: rain."
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty: it needs a header and rows."),
        (b"\n \n", "is empty: it needs a header and rows."),
        (b"day,rain\n", "has a header and no row."),
        (b"day,snow\n1,2\n", "has no column 'rain': its first line is 'day,snow'."),
        (b"<html>\n<body>\n", "is a web page or XML, not a CSV file: correct the address."),
        (b"day,rain,day\n1,2,3\n", "has the column 'day' twice: leave one."),
        (b'day,rain\n"1,2\n3,4\n', "has a quote in line 2 that does not end where it should"),
        (b'{"a": "' + 200_000 * b"x" + b'"}', "has no column 'day', 'rain': its first line is '{\"a\": \"xxx"),
        (b'day,"rain\n' + 200_000 * b"x", "has no column 'day', 'rain': its first line is 'day,\"rain'."),
        (b"\xff\xfed\0a\0y", "ends within a character: deliver the whole file."),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(content: bytes, fault: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        rows(content, tmp_path)
    assert str(caught.value).startswith(f"https://x/file.csv {fault}")


def test_packed_data_is_no_csv(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        rows(gzip.compress(b"day,rain\n1,2\n"), tmp_path)


def test_a_file_that_is_known_is_not_stored(aws: str, tmp_path: Path) -> None:
    table = raw_tables()["name_gender"]
    lake = Lake(Settings(), boto3.Session(), alone(table))
    bucket = boto3.resource("s3").create_bucket(Bucket="taxiway-lake")
    file = tmp_path / "names.csv"
    file.write_text("name,gender\nAnn,F\n")
    known: list[str] = []

    first = store(lake, file.as_uri(), table, "1", is_known=known.__contains__)
    assert first
    known.append(first["sha256"])

    assert store(lake, file.as_uri(), table, "2", is_known=known.__contains__) is None
    assert [each.key for each in bucket.objects.all()] == [f"{table.path}/version=1/rows.parquet"]

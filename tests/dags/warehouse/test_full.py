"""Full refresh of a raw table from a CSV: what of it is taken, what is rejected and why, and what refuses the file."""

import csv
import http.server
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowFailException
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings

from taxiway.core import contracts
from taxiway.core.settings import Settings
from taxiway.lake import Lake, Publication
from taxiway.lake.csv_file import open_csv, open_scratch
from taxiway.lake.source import SourceError, UnavailableError
from taxiway.lake.tables import Table
from taxiway.warehouse import full, rows, run
from taxiway.warehouse.loads import Loaded, summary
from taxiway.warehouse.tables import REJECTED, alone, raw_tables

TABLES = raw_tables()
NAMES = TABLES["name_gender"]
HEADER = "name,gender,probability\n"


@pytest.fixture
def lake(aws: str) -> Lake:
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    return Lake(Settings(), boto3.Session(), alone(NAMES))


@pytest.fixture
def load(lake: Lake, tmp_path: Path) -> Callable[..., Loaded]:
    """Return a function that loads a text, or bytes, and publishes it."""

    def load_text(content: str | bytes, *, again: bool = False, publish: bool = True, table: Any = NAMES) -> Loaded:
        file = tmp_path / "source.csv"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        load_text.number += 1  # type: ignore[attr-defined]
        version = f"20261121T1011{load_text.number:02d}000000Z.1"  # type: ignore[attr-defined]
        of_table = replace(lake, tables=alone(table))
        loaded = full.load(of_table, table, file.as_uri(), version, shrink_below=0.5, again=again)
        for part in loaded["parts"] if publish else ():
            locations, counts = {table.name: part["location"]}, {table.name: part["accepted"]}
            of_table.publish(Publication(period="", inputs=part["inputs"], locations=locations, rows=counts), "run")
        return loaded

    load_text.number = 0  # type: ignore[attr-defined]
    return load_text


def taken(lake: Lake, loaded: Loaded) -> list[dict[str, Any]]:
    """Return the accepted rows, sorted: nothing promises their order."""
    found: list[dict[str, Any]] = lake.read(loaded["parts"][0]["location"]).to_pylist()
    return sorted(found, key=lambda row: str([*row.values()]))


def rejects(lake: Lake, loaded: Loaded) -> list[tuple[str, str | None]]:
    found = lake.read(loaded["parts"][0]["rejected_location"]).to_pylist()
    return sorted((row["reject_reason"], row["reject_column"]) for row in found)


def test_a_source_is_taken_as_a_whole(lake: Lake, load: Callable[..., Loaded]) -> None:
    loaded = load(HEADER + "Ann,F,1\nBob,M,0.75\nCid,Unisex,\n")
    assert taken(lake, loaded) == [
        {"name": "Ann", "gender": "F", "probability": 1.0},
        {"name": "Bob", "gender": "M", "probability": 0.75},
        {"name": "Cid", "gender": "Unisex", "probability": None},
    ]
    assert rejects(lake, loaded) == []
    (part,) = loaded["parts"]
    assert (part["source"], part["accepted"], part["rejected"]) == (3, 3, 0)
    published = lake.partition(NAMES, "")
    assert published
    assert published.location == part["location"]


def test_every_fault_is_counted_with_its_reason_and_the_row_is_kept(lake: Lake, load: Callable[..., Loaded]) -> None:
    loaded = load(
        HEADER + "Ann,F,1\nname,gender,probability\n,F,1\nBob,,1\nCid,X,1\nDan,M,2\nEve,F,high\nAnn,M,0.4\n"
        "Fay,F\nGil,M,1,1\n  Hal , M , NaN \n\nIda,F,1\n"
    )
    assert [row["name"] for row in taken(lake, loaded)] == ["Ann", "Hal", "Ida"], "the first of two rows with a key"
    assert taken(lake, loaded)[0]["gender"] == "F"
    assert rejects(lake, loaded) == [
        ("duplicate_key", None),
        ("header_again", None),
        ("malformed", None),
        ("malformed", None),
        ("missing_key", "name"),
        ("missing_value", "gender"),
        ("not_allowed", "gender"),
        ("out_of_bounds", "probability"),
        ("wrong_type", "probability"),
    ]
    (part,) = loaded["parts"]
    assert (part["source"], part["accepted"], part["rejected"]) == (12, 3, 9)
    assert {reason: count for reason, count in loaded["reasons"].items() if count} == {
        **dict.fromkeys(("duplicate_key", "header_again", "missing_key", "missing_value", "not_allowed"), 1),
        **dict.fromkeys(("out_of_bounds", "wrong_type"), 1),
        "malformed": 2,
    }
    kept = {row["reject_reason"]: row for row in lake.read(part["rejected_location"]).to_pylist()}
    assert json.loads(kept["wrong_type"]["source_row"]) == {"name": "Eve", "gender": "F", "probability": "high"}
    assert json.loads(kept["duplicate_key"]["row_key"]) == ["Ann"]
    assert kept["malformed"]["source_line"] in (10, 11)
    assert kept["malformed"]["source_row"] in ("Fay,F", "Gil,M,1,1")
    assert "12 rows are 3 accepted and 9 rejected (2 malformed, 1 header_again" in summary(loaded)


TEXT = "name;Gender\r\nZoë;F\r\nAndré;M\r\n"


@pytest.mark.parametrize(
    ("encoding", "bom"),
    [
        ("utf-8", b""),
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("cp1252", b""),
    ],
    ids=["UTF-8", "UTF-8 with a mark", "UTF-16-LE", "UTF-16-BE", "Windows-1252"],
)
def test_encodings_delimiters_and_line_ends_are_known(
    encoding: str, bom: bytes, lake: Lake, load: Callable[..., Loaded]
) -> None:
    loaded = load(bom + TEXT.encode(encoding))
    assert [(row["name"], row["gender"]) for row in taken(lake, loaded)] == [("André", "M"), ("Zoë", "F")]
    assert loaded["note"].startswith("" if encoding == "utf-8" else f"The source is in {encoding.upper()}.")
    assert "between ';'" in loaded["note"]
    assert "are null: probability" in loaded["note"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: it needs a header and rows. What is published stays."),
        (b"\n \n", "is empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "is a web page or XML, not a CSV file"),
        (b"PK\x03\x04\0\0\0", "is no text"),
        (b"forename,sex\nAnn,F\n", "has no column 'name', 'gender': its first line is 'forename,sex'"),
        (b"name,gender,name\nAnn,F,Ann\n", "has the column 'name' twice"),
        (b'name,gender\nAnn,F\n"Bob,M\nCid,M\nDan,M\n', "has a quote in line 3 that does not end"),
        (b"name,gender\n", "None of the 0 rows of the source of name_gender can be taken (it has none)"),
        (b"name,gender\nAnn,X\nBob,Y\n", "None of the 2 rows of the source of name_gender can be taken (not_allowed)"),
        (b"\xff\xfen\0a\0m", "ends within a character"),
        (b"\xff\xfe\0\xd8n\0a\0", "says that it is in UTF-16-LE, and is not"),
    ],
    ids=["empty", "blank", "page", "zip", "columns", "twice", "quote", "header", "all", "half", "wrong"],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    content: bytes, sentence: str, lake: Lake, load: Callable[..., Loaded]
) -> None:
    with pytest.raises(SourceError) as error:
        load(content)
    assert sentence in str(error.value)
    assert lake.partitions(NAMES) == {}


def test_a_source_that_shrinks_below_half_is_refused_unless_forced(lake: Lake, load: Callable[..., Loaded]) -> None:
    load(HEADER + "Ann,F,1\nBob,M,1\nCid,M,1\nDan,M,1\n")
    with pytest.raises(full.ShrunkError, match="name_gender would shrink from 4 to 1 rows, below 50%"):
        load(HEADER + "Ann,F,1\n")
    assert load(HEADER + "Ann,F,1\nBob,M,1\n")["parts"], "half is enough"
    assert load(HEADER + "Ann,F,1\n", again=True)["parts"]


def test_an_unchanged_source_is_not_written_again(lake: Lake, load: Callable[..., Loaded]) -> None:
    text = HEADER + "Ann,F,1\n"
    assert load(text)["parts"]
    assert load(text)["parts"] == []
    assert load(text, again=True)["parts"]
    assert load(text + "Bob,M,1\n")["parts"]
    lake.roll_back("")
    assert load(text + "Bob,M,1\n")["parts"] == [], "what was rolled back is not published again by itself"


def test_zones_and_bases_have_the_names_of_their_sources(lake: Lake, load: Callable[..., Loaded]) -> None:
    zones = load(
        '"LocationID","Borough","Zone","service_zone"\n1,"EWR","Newark Airport","EWR"\n', table=TABLES["taxi_zones"]
    )
    assert taken(lake, zones) == [
        {"zone_id": 1, "zone_name": "Newark Airport", "borough": "EWR", "service_zone": "EWR"}
    ]
    bases = load(
        "base_number,base_name,dba,dba_category\nB1,ANN INC,,uber\nB2,BOB INC,BOB,other\n", table=TABLES["fhv_bases"]
    )
    assert [(row["base_number"], row["dba"], row["company"]) for row in taken(lake, bases)] == [
        ("B1", None, "uber"),
        ("B2", "BOB", "other"),
    ]


def test_without_a_key_no_row_is_that_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "warehouse").mkdir()
    columns = ["rowid", "order", "at"]
    properties = [f"{{name: {name}, logicalType: string, physicalType: string}}" for name in columns]
    (tmp_path / "warehouse/keyless.yaml").write_text(
        "schema: [{physicalName: keyless, customProperties: [{property: path, value: raw/keyless}], properties: ["
        f"{', '.join(properties)}]}}]\n"
    )
    monkeypatch.setattr(contracts, "FOLDER", tmp_path)
    table = Table("warehouse", "keyless")
    file = tmp_path / "keyless.csv"
    file.write_text("rowid,order,at\nb,1,x\na,2,x\na,2,x\n,,\n1\n")
    with open_scratch(tmp_path) as database:
        rows.read(database, table, open_csv(file, file.as_uri(), table.contract))
        for as_view in (True, False):
            rows.judge(database, table, judged=f"judged_{as_view}", as_view=as_view)
            found = database.execute(f'select "rowid" from judged_{as_view} where _reason is null').fetchall()
            assert Counter(found) == {("a",): 2, ("b",): 1, (None,): 1}
            rejected = database.execute(rows.rejected_of(table, f"judged_{as_view}")).fetchall()
            assert [(line, reason) for line, *_, reason in rejected] == [(6, "malformed")]


def test_of_rows_with_a_key_the_first_is_taken_whatever_its_columns_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse/keyed.yaml").write_text(
        "schema: [{physicalName: keyed, customProperties: [{property: path, value: raw/keyed}], properties: ["
        "{name: by, logicalType: string, physicalType: string, primaryKey: true, primaryKeyPosition: 1},"
        "{name: rowid, logicalType: integer, physicalType: int, logicalTypeOptions: {minimum: -9999}}]}]\n"
    )
    monkeypatch.setattr(contracts, "FOLDER", tmp_path)
    table = Table("warehouse", "keyed")
    file = tmp_path / "keyed.csv"
    file.write_text("by,rowid\n" + "".join(f"k{-number % 10},{-number}\n" for number in range(5000)))
    with open_scratch(tmp_path) as database:
        rows.read(database, table, open_csv(file, file.as_uri(), table.contract))
        rows.judge(database, table, as_view=True)
        found = database.execute('select "rowid" from judged where _reason is null').fetchall()
    assert sorted(found) == [(-number,) for number in reversed(range(10))]


@pytest.mark.parametrize(
    ("number", "zone"), [("3", 3), ("3.0", 3), ("3.7", None), ("1e2", None), ("0", None), ("99999999999", None)]
)
def test_a_number_is_not_rounded(number: str, zone: int | None, tmp_path: Path) -> None:
    file = tmp_path / "zones.csv"
    file.write_text(f"LocationID,Borough,Zone,service_zone\n{number},Queens,Astoria,Boro Zone\n")
    with open_scratch(tmp_path) as database:
        zones = TABLES["taxi_zones"]
        rows.read(database, zones, open_csv(file, "file:///zones.csv", zones.contract))
        rows.judge(database, TABLES["taxi_zones"])
        found = database.execute("select zone_id from judged where _reason is null").fetchall()
    assert found == ([(zone,)] if zone else [])


CELLS = strategies.text(strategies.sampled_from("aZ1 ,;\"'\t.-é\n"), max_size=6)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=strategies.lists(strategies.lists(CELLS, min_size=1, max_size=3), max_size=12))
def test_no_row_is_lost_whatever_is_in_it(lines: list[list[str]], tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerows([["name", "gender"], *lines])
    (tmp_path / "load.duckdb").unlink(missing_ok=True)
    with open_scratch(tmp_path) as database:
        rows.read(database, NAMES, open_csv(file, "file:///names.csv", NAMES.contract))
        rows.judge(database, NAMES)
        counts: Any = database.execute(
            "select count(*), count(*) filter (_reason = 'malformed') from judged"
        ).fetchone()
    assert counts[0] == len(lines)
    assert counts[1] >= sum(len(line) == 1 for line in lines)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve a file that ends before the length that it promises, and one that is missing."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/names.csv":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(HEADER.encode() + b"Ann,F,1\n")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("{server}/names.csv", "is cut short"),
        ("{server}/gone.csv", "404"),
        ("file:///nowhere/names.csv", "No such file"),
        ("s3://taxiway-lake/reference/gone.csv", "is not there: put the file there, or name another source."),
        ("s3://taxiway-nowhere/gone.csv", "is not there"),
    ],
    ids=["cut", "missing", "file", "object", "bucket"],
)
def test_a_source_that_is_away_is_one_sentence(address: str, sentence: str, server: str, lake: Lake) -> None:
    with pytest.raises(SourceError, match=sentence.replace(".", r"\.")):
        full.load(lake, NAMES, address.format(server=server), "20261121T101110000000Z.1", shrink_below=0.5)
    assert lake.partitions(NAMES) == {}
    assert lake.partitions(REJECTED) == {}


def test_a_source_that_is_away_now_may_be_tried_again(server: str, lake: Lake) -> None:
    with pytest.raises(UnavailableError, match="is cut short"), run.fail_without_retry():
        full.load(lake, NAMES, f"{server}/names.csv", "20261121T101110000000Z.1", shrink_below=0.5)
    with pytest.raises(AirflowFailException, match="404"), run.fail_without_retry():
        full.load(lake, NAMES, f"{server}/gone.csv", "20261121T101110000000Z.1", shrink_below=0.5)


def test_a_source_on_s3_is_read(lake: Lake) -> None:
    boto3.client("s3").put_object(
        Bucket="taxiway-lake", Key="reference/names.csv", Body=(HEADER + "Ann,F,1\n").encode()
    )
    loaded = full.load(
        lake, NAMES, "s3://taxiway-lake/reference/names.csv", "20261121T101110000000Z.1", shrink_below=0.5
    )
    assert [row["name"] for row in taken(lake, loaded)] == ["Ann"]

"""The dataset catalogue and the ingestion log, on SQLite and on a real MySQL-compatible server."""

import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from taxiway import catalogue
from taxiway.catalogue import CatalogueError, Dataset, LoadReport, Status
from taxiway.catalogue.__main__ import main
from tests.dags.catalogue.databases import mariadb

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "demos/hvfhv/sample/catalogue.csv"
A = Dataset("a", "2023-01", "https://example.org/a.parquet")
B = Dataset("b", "2023-01", "https://example.org/b.parquet")
C = Dataset("c", "2023-02", "https://example.org/c.parquet")
numbers = itertools.count()


@pytest.fixture(scope="session")
def mysql_url() -> Iterator[str]:
    with mariadb() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalogue.db"
    server = request.getfixturevalue("mysql_url")
    name = f"catalogue_{next(numbers)}"
    with sa.create_engine(server).begin() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return f"{server}/{name}?charset=utf8mb4"


@pytest.fixture
def engine(url: str) -> sa.Engine:
    engine = catalogue.open_engine(url)
    catalogue.migrate(engine)
    return engine


def write(folder: Path, *lines: str) -> Path:
    file = folder / "list.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def load(engine: sa.Engine, folder: Path, *listed: Dataset) -> LoadReport:
    lines = (f"{dataset.name},{dataset.month},{dataset.url}" for dataset in listed)
    return catalogue.load(engine, write(folder, "name,month,url", *lines))


def complete(engine: sa.Engine, dataset: Dataset, sha256: str = "0" * 64) -> int:
    attempt = catalogue.begin_attempt(engine, dataset, "run")
    catalogue.complete_attempt(
        engine,
        attempt,
        bytes=3_000_000_000,
        sha256=sha256,
        rows=20_000_000,
        s3_bucket="lake",
        s3_key=f"raw/{dataset.file}",
        source_version="v1",
    )
    return attempt


# ── Migrations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_migrations_make_the_tables_that_the_code_knows(engine: sa.Engine) -> None:
    catalogue.migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": catalogue.VERSION_TABLE})
        assert compare_metadata(context, catalogue.metadata) == []


@pytest.mark.slow
def test_migrations_that_run_at_once(url: str) -> None:
    program = "import sys; from taxiway import catalogue; catalogue.migrate(catalogue.open_engine(sys.argv[1]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], cwd=ROOT / "dags", stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 2
    assert sa.inspect(catalogue.open_engine(url)).has_table("ingestion_log")


def test_a_migration_that_was_killed_before_its_end_is_made_good(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM {catalogue.VERSION_TABLE}")
        connection.exec_driver_sql("DROP TABLE ingestion_log")
    catalogue.migrate(engine)
    assert catalogue.running_attempts(engine) == []


# ── Lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_that_is_shipped(engine: sa.Engine) -> None:
    assert catalogue.load(engine, SAMPLE) == LoadReport(added=3, changed=0, unchanged=0, removed=0)
    found = catalogue.find_dataset(engine, "fhvhv_tripdata_sample_2023-02")
    assert found.month == "2023-02"
    assert found.url == (SAMPLE.parent / "fhvhv_tripdata_sample_2023-02.parquet").as_uri()
    assert found.file == "fhvhv_tripdata_sample_2023-02.parquet"


def test_a_list_adds_changes_and_leaves(engine: sa.Engine, tmp_path: Path) -> None:
    assert load(engine, tmp_path, A, B) == LoadReport(2, 0, 0, 0)
    moved = Dataset("b", "2023-01", "http://example.org/b2.parquet")
    assert load(engine, tmp_path, A, moved, C) == LoadReport(1, 1, 1, 0)
    assert load(engine, tmp_path, C) == LoadReport(0, 0, 1, 0)
    assert [dataset for dataset, _ in catalogue.latest_attempts(engine)] == [A, moved, C]


def test_a_list_of_whole_months_replaces_the_other_data_sets_of_its_months(engine: sa.Engine, tmp_path: Path) -> None:
    elsewhere = Dataset("elsewhere", "2022-01", "https://example.org/elsewhere.parquet")
    load(engine, tmp_path, A, B, elsewhere)
    attempt = catalogue.begin_attempt(engine, A)
    file = write(tmp_path, "name,month,url", f"renamed,{A.month},{A.url}")
    assert catalogue.load(engine, file, whole_months=True) == LoadReport(1, 0, 0, 2)
    assert [dataset.name for dataset, _ in catalogue.latest_attempts(engine)] == ["elsewhere", "renamed"]
    assert [running.id for running in catalogue.running_attempts(engine)] == [attempt], "the log outlives its data set"


def test_a_wrong_line_leaves_the_catalogue_as_it_was(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A)
    with pytest.raises(CatalogueError):
        load(engine, tmp_path, B, Dataset("c", "2023-13", "https://example.org/c.parquet"))
    assert [dataset for dataset, _ in catalogue.latest_attempts(engine)] == [A]


def test_a_list_may_not_take_what_the_catalogue_has(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A)
    with pytest.raises(CatalogueError, match=r"line 2: the URL https://\S+/a.parquet is already that of 'a'"):
        load(engine, tmp_path, Dataset("z", "2023-02", A.url))
    with pytest.raises(CatalogueError, match=r"line 2: a file a\.parquet of 2023-01 is already that of 'a'"):
        load(engine, tmp_path, Dataset("z", "2023-01", "https://example.com/a.parquet"))


def test_data_sets_may_exchange_their_urls(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A, B)
    assert load(engine, tmp_path, Dataset("a", A.month, B.url), Dataset("b", B.month, A.url)) == LoadReport(0, 2, 0, 0)


def test_names_are_told_apart_by_every_character(engine: sa.Engine, tmp_path: Path) -> None:
    names = ["Été", "été", "ete", "ETE", "\N{TAXI}"]
    listed = [Dataset(name, "2023-01", f"https://example.org/{n}.parquet") for n, name in enumerate(names)]
    assert load(engine, tmp_path, *listed).added == 5
    assert {dataset.name for dataset, _ in catalogue.latest_attempts(engine)} == set(names)


def test_optional_columns_blank_lines_spaces_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    header = "\ufeffurl, month ,name,expected_sha256,expected_bytes"
    file.write_bytes(f"{header}\r\n\r\n{A.url}, 2023-01 ,a,{'AB' * 32},12\r\n,,,,\r\n".encode())
    assert catalogue.read_list(file) == [(3, Dataset("a", "2023-01", A.url, 12, "ab" * 32))]


@pytest.mark.parametrize(
    "url",
    ["x/a b%.parquet", "file:x/a%20b%25.parquet", "./x/../x/a b%.parquet", "file://localhost{}/x/a%20b%25.parquet"],
)
def test_files_are_seen_from_the_folder_of_the_list(tmp_path: Path, url: str) -> None:
    ((_, dataset),) = catalogue.read_list(write(tmp_path, "name,month,url", f"a,2023-01,{url.format(tmp_path)}"))
    assert dataset.url == (tmp_path / "x/a b%.parquet").as_uri()
    assert dataset.file == "a%20b%25.parquet"


HEADER = "name,month,url"
GOOD = "a,2023-01,https://example.org/a.parquet"
WRONG_LISTS = {
    "empty": ([""], "is empty"),
    "no data set": ([HEADER], "lists no data set"),
    "a missing column": (["name,url", "a,https://example.org/a"], "line 1: the column 'month' is missing"),
    "an unknown column": ([f"{HEADER},sha", f"{GOOD},1"], "line 1: the column 'sha' is unknown"),
    "a column twice": (["name,month,url,url", f"{GOOD},x"], "line 1: a column appears twice"),
    "another separator": (["name;month;url", "a;b;c"], "the column 'name' is missing"),
    "too few values": ([HEADER, GOOD, "b,2023-01"], "line 3: it has 2 values for 3 columns"),
    "too many values": ([HEADER, f"{GOOD},x"], "line 2: it has 4 values for 3 columns"),
    "no name": ([HEADER, ",2023-01,https://example.org/a"], "line 2: it has no name"),
    "a long name": ([HEADER, f"{'a' * 201},2023-01,https://example.org/a"], "line 2: the name is longer than 200"),
    "a bad month": ([HEADER, "a,2023-13,https://example.org/a"], "line 2: '2023-13' is not a month like 2023-01"),
    "a month in words": ([HEADER, GOOD, "b,Jan 2023,https://example.org/b"], "line 3: 'Jan 2023' is not a month"),
    "a scheme of no use": ([HEADER, "a,2023-01,s3://b/a"], "line 2: the URL 's3://b/a' begins with s3://, but only"),
    "no host": ([HEADER, "a,2023-01,https:///a"], "line 2: the URL 'https:///a' names no host"),
    "no file": ([HEADER, "a,2023-01,https://example.org/"], "line 2: the URL 'https://example.org/' names no file"),
    "a broken address": ([HEADER, "a,2023-01,http://[::1/a"], "line 2: the URL 'http://\\[::1/a' cannot be read"),
    "a password": ([HEADER, "a,2023-01,https://me:secret@example.org/a"], "line 2: the URL of example.org carries"),
    "two slashes": ([HEADER, "a,2023-01,file://folder/a"], "line 2: .* names the host 'folder'.*three slashes"),
    "a duplicate name": ([HEADER, GOOD, "a,2023-02,https://example.org/b"], "line 3: the name 'a' is already .*line 2"),
    "two rows for a URL": ([HEADER, GOOD, f"b{GOOD[1:]}"], "line 3: the URL .* is already that of 'a' .*line 2"),
    "two rows for a file": ([HEADER, GOOD, "b,2023-01,https://x.org/a.parquet"], "line 3: a file a.parquet of 2023-01"),
    "a bad size": ([f"{HEADER},expected_bytes", f"{GOOD},1e9"], "line 2: expected_bytes '1e9' is not a number"),
    "a bad checksum": ([f"{HEADER},expected_sha256", f"{GOOD},123"], "line 2: expected_sha256 '123' is not 64"),
    "an open quote": ([HEADER, 'a,2023-01,"https://example.org/a'], "is not a CSV file"),
}


@pytest.mark.parametrize(("lines", "sentence"), WRONG_LISTS.values(), ids=WRONG_LISTS)
def test_a_wrong_list_is_told_in_a_sentence(tmp_path: Path, lines: list[str], sentence: str) -> None:
    file = write(tmp_path, *lines)
    with pytest.raises(CatalogueError, match=sentence) as caught:
        catalogue.read_list(file)
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


SIGNED = "https://example.org/a.parquet?X-Amz-Date=20230101&X-Amz-Signature=s3cret&sig=s3cret%2F"
LISTS_WITH_SIGNATURES = {
    "the URL twice": [HEADER, f"a,2023-01,{SIGNED}", f"b,2023-01,{SIGNED}"],
    "the file twice": [HEADER, f"a,2023-01,{SIGNED}", f"b,2023-01,{SIGNED}1"],
    "columns swapped": [HEADER, f"a,{SIGNED},2023-01"],
    "in the size": [f"{HEADER},expected_bytes", f"a,2023-01,https://example.org/a,{SIGNED}"],
    "no header": [f"name,month,url,{SIGNED}", "a,2023-01,b,c"],
    "no file": [HEADER, "a,2023-01,https://example.org?sig=s3cret"],
    "another scheme": [HEADER, "a,2023-01,abfss://me:s3cret@example.org/a?sig=s3cret"],
    "a broken address": [HEADER, "a,2023-01,https://me:s3cret@[::1/a?sig=s3cret"],
    "a broken name of a host": [HEADER, "a,2023-01,https://me:s3cret@exa\u2100mple.org/a?sig=s3cret"],
    "a file's host": [HEADER, "a,2023-01,file://me:s3cret@host/a?sig=s3cret"],
    "a fragment": [HEADER, "a,2023-01,https://example.org/#s3cret"],
}


@pytest.mark.parametrize("lines", LISTS_WITH_SIGNATURES.values(), ids=LISTS_WITH_SIGNATURES)
def test_a_wrong_list_is_told_without_its_signatures(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(CatalogueError) as caught:
        catalogue.read_list(write(tmp_path, *lines))
    assert "s3cret" not in str(caught.value)


def test_a_signature_is_kept_for_the_download_alone(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("taxiway.catalogue.__main__.open_catalogue", lambda: engine)
    signed = Dataset("a", "2023-01", SIGNED)
    load(engine, tmp_path, signed)
    assert catalogue.find_dataset(engine, "a").url == SIGNED
    assert "s3cret" not in repr(signed)
    assert main(["show"]) == 0
    complete(engine, signed)
    assert main(["show"]) == 0
    with engine.connect() as connection:
        logged = str(connection.execute(catalogue.ingestion_log.select()).all())
    assert "s3cret" not in logged + capsys.readouterr().out


def test_a_new_signature_is_no_new_source(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, Dataset("a", "2023-01", SIGNED))
    complete(engine, Dataset("a", "2023-01", SIGNED))
    again = Dataset("a", "2023-01", f"{SIGNED}9")
    load(engine, tmp_path, again)
    assert list(catalogue.complete_months(engine)) == ["2023-01"]
    assert catalogue.last_complete(engine, again) is not None


def test_files_that_are_no_lists(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot be read: No such file"):
        catalogue.read_list(tmp_path / "none.csv")
    with pytest.raises(CatalogueError, match="cannot be read: Is a directory"):
        catalogue.read_list(tmp_path)
    with pytest.raises(CatalogueError, match="is not a CSV file in UTF-8"):
        catalogue.read_list(SAMPLE.parent / "fhvhv_tripdata_sample_2023-01.parquet")


# ── The log ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_month_is_complete_when_all_its_data_sets_are(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A, B, C)
    assert catalogue.complete_months(engine) == {}
    complete(engine, A, "1" * 64)
    complete(engine, C, "3" * 64)
    assert list(catalogue.complete_months(engine)) == ["2023-02"]
    complete(engine, B, "2" * 64)
    months = catalogue.complete_months(engine)
    assert list(months) == ["2023-01", "2023-02"]
    assert months["2023-01"] == [
        catalogue.Input("a", "s3://lake/raw/a.parquet", "1" * 64, 20_000_000, 3_000_000_000),
        catalogue.Input("b", "s3://lake/raw/b.parquet", "2" * 64, 20_000_000, 3_000_000_000),
    ]


def test_the_latest_attempt_counts(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A)
    first = complete(engine, A)
    second = catalogue.begin_attempt(engine, A)
    assert catalogue.complete_months(engine) == {}
    catalogue.fail_attempt(engine, second, "It broke.")
    assert catalogue.complete_months(engine) == {}
    ((_, latest),) = catalogue.latest_attempts(engine, ["2023-01"])
    assert latest
    assert (latest.id, latest.status, latest.error) == (second, Status.FAILED, "It broke.")
    kept = catalogue.last_complete(engine, A)
    assert kept
    assert (kept.id, kept.dag_run_id, kept.source_version) == (first, "run", "v1")
    assert catalogue.latest_attempts(engine, ["2023-02"]) == []


def test_an_attempt_for_another_url_or_month_does_not_count(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A)
    complete(engine, A)
    for changed in (Dataset("a", A.month, B.url), Dataset("a", "2023-02", A.url)):
        load(engine, tmp_path, changed)
        assert catalogue.complete_months(engine) == {}
        assert catalogue.last_complete(engine, changed) is None
    load(engine, tmp_path, A)
    assert list(catalogue.complete_months(engine)) == ["2023-01"]


def test_a_running_attempt_is_abandoned_by_the_next(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A, B)
    before = datetime.now(UTC)
    dead = catalogue.begin_attempt(engine, A, "killed")
    other = catalogue.begin_attempt(engine, B)
    (found, _) = catalogue.running_attempts(engine)
    assert (found.id, found.dataset, found.month, found.dag_run_id) == (dead, "a", "2023-01", "killed")
    assert before <= found.started <= datetime.now(UTC)
    assert found.started.utcoffset() == timedelta(0)

    second = catalogue.begin_attempt(engine, A)
    assert [attempt.id for attempt in catalogue.running_attempts(engine)] == [other, second]
    with engine.connect() as connection:
        row = connection.execute(catalogue.ingestion_log.select().where(catalogue.ingestion_log.c.id == dead)).one()
    assert row.status == "abandoned"
    assert row.finished >= found.started

    # Should the first live after all, it must not speak for the data set any more.
    with pytest.raises(CatalogueError, match="A later attempt of the same data set replaced attempt"):
        catalogue.claim_content(engine, dead, "0" * 64)
    catalogue.fail_attempt(engine, dead, "late")
    assert [attempt.id for attempt in catalogue.running_attempts(engine)] == [other, second]


def test_the_same_content_is_claimed_once(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A, B, C)
    complete(engine, A, "1" * 64)
    assert catalogue.claim_content(engine, catalogue.begin_attempt(engine, A), "1" * 64) is None
    assert catalogue.claim_content(engine, catalogue.begin_attempt(engine, C), "1" * 64) == "a"
    # A file that a data set no longer stands for may be another's.
    load(engine, tmp_path, Dataset("a", A.month, "https://example.org/a2.parquet"), Dataset("c", C.month, A.url))
    moved = catalogue.find_dataset(engine, "c")
    assert catalogue.claim_content(engine, catalogue.begin_attempt(engine, moved), "1" * 64) is None


def test_of_two_that_arrive_together_with_the_same_content_one_has_it(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, A, B)
    for _ in range(3):
        attempts = [catalogue.begin_attempt(engine, dataset) for dataset in (A, B)]
        barrier = threading.Barrier(2)

        def claim(attempt: int, barrier: threading.Barrier = barrier) -> str | None:
            barrier.wait(10)
            return catalogue.claim_content(engine, attempt, "5" * 64)

        with ThreadPoolExecutor() as pool:
            assert sum(twin is None for twin in pool.map(claim, attempts)) == 1


def test_parallel_tasks_do_not_lock_each_other_out(engine: sa.Engine, tmp_path: Path) -> None:
    listed = [Dataset(f"d{n}", "2023-01", f"https://example.org/{n}.parquet") for n in range(8)]
    load(engine, tmp_path, *listed)

    def work(dataset: Dataset) -> None:
        for n in range(4):
            complete(engine, dataset, f"{dataset.name}-{n}")
            catalogue.latest_attempts(engine)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, listed))
    assert len(catalogue.complete_months(engine)["2023-01"]) == 8


def test_an_unknown_data_set(engine: sa.Engine) -> None:
    with pytest.raises(CatalogueError, match="The catalogue has no data set 'x'"):
        catalogue.find_dataset(engine, "x")


# ── The connection and the command line ─────────────────────────────────────────────────────────────────────────────


def connect_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", url.replace("mysql+pymysql", "mysql"))


def test_the_command_line(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connect_to(url, monkeypatch)
    assert main(["show"]) == 1
    assert "are missing: run python -m taxiway.catalogue migrate." in capsys.readouterr().err
    assert main(["migrate"]) == 0
    assert main(["load", str(SAMPLE)]) == 0
    assert capsys.readouterr().out == "3 added, 0 changed, 0 unchanged, 0 removed.\n"
    wrong = write(tmp_path, HEADER, "a,January,https://example.org/a")
    assert main(["load", str(wrong)]) == 1
    assert capsys.readouterr().err == f"{wrong}, line 2: 'January' is not a month like 2023-01.\n"

    engine = catalogue.open_catalogue()
    dataset = catalogue.find_dataset(engine, "fhvhv_tripdata_sample_2023-01")
    complete(engine, dataset)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["show"]) == 0
    (january, february, _) = capsys.readouterr().out.splitlines()[-3:]
    assert "complete" in january
    assert "20,000,000" in january
    assert "not collected" in february


def test_code_that_arrives_before_a_migration(engine: sa.Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_to(url, monkeypatch)
    assert catalogue.open_catalogue("0002").url == engine.url
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {catalogue.VERSION_TABLE} SET version_num = '0001'")
        connection.exec_driver_sql("DROP TABLE run_threads")

    assert catalogue.complete_months(catalogue.open_catalogue()) == {}
    with pytest.raises(CatalogueError, match="are outdated: run python"):
        catalogue.open_catalogue("0002")
    catalogue.migrate(engine)
    assert catalogue.open_catalogue("0002").url == engine.url


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "Airflow has no connection 'tlc_catalog': add one of type mysql or sqlite"),
        ("sqlite:///relative.db", "needs an absolute path for SQLite, not 'relative.db'"),
        ("postgres://host/db", "is of type 'postgres'; it must be mysql or sqlite"),
        ("sqlite:////nowhere/at/all.db", "cannot be used: unable to open database file."),
        ("mysql://u@host/db?ssl_ca=/no/rds.pem", "sets ssl_ca=/no/rds.pem, which does not exist: mount that file"),
        ("mysql://root@127.0.0.1:1/db", "cannot be used: .*Can't connect to MySQL server"),
    ],
)
def test_a_wrong_connection_is_told_in_a_sentence(
    value: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_TLC_CATALOG")
    if value:
        connect_to(value, monkeypatch)
    assert main(["show"]) == 1
    error = capfd.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(sentence, error)


# ── MySQL by TLS, as on RDS ─────────────────────────────────────────────────────────────────────────────────────────


def certificate(folder: Path, name: str, issuer: Path | None = None) -> Path:
    """Write ``<name>.pem`` and ``<name>.key``: an authority, or a certificate of one for 127.0.0.1."""
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    request += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    if issuer:
        request += ["-CA", str(issuer), "-CAkey", str(issuer.with_suffix(".key"))]
        request += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    else:
        request += ["-addext", "keyUsage=critical,keyCertSign"]
    subprocess.run(request, check=True, capture_output=True)
    return folder / f"{name}.pem"


@pytest.mark.mysql
def test_a_server_is_trusted_by_its_authority_alone(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = certificate(folder, "authority"), certificate(folder, "other")
    server = certificate(folder, "server", authority)
    with mariadb(f"--ssl-cert={server}", f"--ssl-key={server.with_suffix('.key')}") as url:
        with sa.create_engine(url).begin() as connection:
            connection.exec_driver_sql("CREATE DATABASE tlc")
            connection.exec_driver_sql("CREATE USER tlc@'%%' IDENTIFIED BY 'p/w%%:1' REQUIRE SSL")
            connection.exec_driver_sql("GRANT ALL ON tlc.* TO tlc@'%%'")
        place = f"mysql://tlc:p%2Fw%25%3A1@{url.partition('@')[2]}/tlc"

        connect_to(f"{place}?ssl_ca={authority}", monkeypatch)
        assert main(["migrate"]) == 0
        with catalogue.open_catalogue().connect() as connection:
            assert connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_version'").one()[1].startswith("TLSv1")

        capfd.readouterr()
        connect_to(f"{place}?ssl_ca={other}", monkeypatch)
        assert main(["show"]) == 1
        error = capfd.readouterr().err
        assert len(error.splitlines()) == 1
        assert error.startswith("The database of the connection 'tlc_catalog' cannot be used: ")
        assert "certificate verify failed" in error


def test_the_driver_may_stand_in_the_type_of_the_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", url)
    assert main(["migrate"]) == 0

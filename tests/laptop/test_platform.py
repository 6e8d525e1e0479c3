"""The whole platform through its commands: real scheduler, EMR steps that run, killed in the middle and run again."""

import csv
import json
import os
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from console.options import ROOT
from tests.contracts.command import contracts
from tests.laptop.person import Person
from tests.oracle.comparison import difference
from tests.oracle.oracle import KEYS, PATHS, compute, month_of
from tests.oracle.programs import ZONE_LOOKUP

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

MONTHS = ["2023-01", "2023-02", "2023-03"]


@pytest.fixture(scope="module")
def killed(person: Person) -> list[str]:
    """Kill a demo, and nothing but its own process, while a Spark step runs."""
    demo = person.start("demo")
    output = ""
    assert demo.stdout
    for line in demo.stdout:
        output += line
        if re.search(r"step build_month .* runs", line):
            break
    else:
        pytest.fail(f"the demo ended before a step ran:\n{output}")
    assert len(person.processes()) > 8, output
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    return person.left_after(120)


@pytest.fixture(scope="module")
def demo(person: Person, killed: list[str]) -> tuple[int, str]:
    """Run the demo to its end, on what the killed one has left."""
    return person.type("demo")


@pytest.fixture(scope="module")
def results(person: Person, demo: tuple[int, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    status, output = person.type("results", "--to", str(folder))
    assert status == 0, output
    return folder


def test_a_killed_demo_leaves_no_process(killed: list[str]) -> None:
    assert not killed


def test_the_demo_ends_well_and_shows_what_it_found(demo: tuple[int, str]) -> None:
    status, output = demo
    assert status == 0, output
    for words in ("Market share and waits", "Rising zones in 2023-03", "quarantined", "list price", "2023-03.html"):
        assert words in output
    assert "is TERMINATED" in output


def test_the_demo_leaves_no_process(person: Person, demo: tuple[int, str]) -> None:
    assert not person.left_after(30)


@pytest.mark.parametrize("month", MONTHS)
def test_every_table_equals_the_oracle(results: Path, month: str) -> None:
    require_equal_to_the_oracle(results, month)


def require_equal_to_the_oracle(results: Path, month: str) -> None:
    files = {each: [ROOT / f"demos/hvfhv/sample/fhvhv_tripdata_sample_{each}.parquet"] for each in MONTHS}
    year, number = month.split("-")
    with compute(files, ZONE_LOOKUP) as oracle:
        for table, keys in KEYS.items():
            folder = results / PATHS[table] / f"year={year}" / f"month={number}"
            actual = f"FROM read_parquet('{folder}/*.parquet', hive_partitioning := false)"
            found = difference(oracle, month_of(table, month), actual, keys)
            assert not found, f"{table}: {found}"


def test_published_tables_keep_their_contracts(results: Path) -> None:
    assert contracts("test", "hvfhv", results) == (0, "")


def test_results_hold_nothing_but_what_is_published(results: Path) -> None:
    files = sorted(path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file())
    partition = r"(curated|quarantine|marts/hvfhv)/\w+/year=2023/month=0[123]/[^/]+\.parquet"
    assert [name for name in files if not re.fullmatch(rf"{partition}|reports/hvfhv/2023-0[123]\.html", name)] == []


def test_what_apache_spark_wrote_is_copied_out_and_equals_the_oracle_too(
    person: Person, demo: tuple[int, str], tmp_path: Path
) -> None:
    """One month, and the rising zones of the one after it; S3A leaves an empty object where a folder should be."""
    if not person.spark.exists():
        pytest.skip("the environment of Apache Spark is not installed: make setup ENGINE=spark")
    with (ROOT / "demos/hvfhv/sample/catalogue.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "one.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["name", "month", "url"], extrasaction="ignore")
        writer.writeheader()
        for row in (row for row in rows if row["month"] == MONTHS[1]):
            source = ROOT / f"demos/hvfhv/sample/fhvhv_tripdata_sample_{MONTHS[1]}.parquet"
            writer.writerow(row | {"url": source.as_uri()})
    status, output = person.type("demo", ENGINE="spark", CATALOG=str(tmp_path / "one.csv"))
    assert status == 0, output
    assert "Apache Spark" in output
    status, output = person.type("results", "--to", str(tmp_path / "results"))
    assert status == 0, output
    test_results_hold_nothing_but_what_is_published(tmp_path / "results")
    for month in MONTHS[1:]:
        require_equal_to_the_oracle(tmp_path / "results", month)


def test_up_keeps_it_running_until_down(person: Person, demo: tuple[int, str], tmp_path: Path) -> None:
    """What was stored is there again; a wrong list is refused in one sentence; the platform outlives a failed demo."""
    status, output = person.type("up")
    assert status == 0, output
    try:
        password = re.search(r"user admin, password (\S{8,})", output)
        assert password
        assert person.type("status")[0] == 0
        assert "It runs already" in person.type("up")[1]

        check_that_requests_that_write_do_not_wait_for_each_other(person, password[1])

        missing = tmp_path / "gone.parquet"
        (tmp_path / "list.csv").write_text(f"name,month,url\ngone,2023-05,{missing.as_uri()}\n")
        status, output = person.type("demo", CATALOG=str(tmp_path / "list.csv"))
        assert status == 1
        assert "2023-05: collect failed" in output
        assert "gone.parquet" in output
        assert "Traceback" not in output

        (tmp_path / "list.csv").write_text("name,url\nx,y\n")
        status, output = person.type("demo", CATALOG=str(tmp_path / "list.csv"))
        assert (status, len(output.strip().splitlines())) == (1, 1)
        assert "month" in output

        status, output = person.type("results", "--to", str(tmp_path / "again"))
        assert status == 0, output
        assert len(list((tmp_path / "again/curated/hvfhv_trips").rglob("*.parquet"))) >= len(MONTHS)
    finally:
        status, output = person.type("down")
    assert (status, "Ended" in output) == (0, True)
    assert not person.left_after(30)
    assert person.type("status")[0] == 3


def check_that_requests_that_write_do_not_wait_for_each_other(person: Person, password: str) -> None:
    """Each is logged, and holds SQLite's lock before its end: two that met waited for the database's time-out."""
    url = f"http://127.0.0.1:{person.environment['UI_PORT']}"
    with requests.Session() as api:
        api.trust_env = False
        login = {"username": "admin", "password": password}
        token = api.post(f"{url}/auth/token", json=login, timeout=60).json()["access_token"]
        api.headers["Authorization"] = f"Bearer {token}"

        def change(dag: str) -> int:
            which, body = {"dag_id_pattern": dag}, {"is_paused": False}
            return api.patch(f"{url}/api/v2/dags", params=which, json=body, timeout=50).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(change, ["hvfhv_analysis", "hvfhv_collection"] * 50)) == {200}


def part(person: Person, name: str) -> psutil.Process:
    """Return the process of a part of the platform; that of a component is known by the log that it writes."""
    guardian = psutil.Process(json.loads((person.state / "supervisor.json").read_text())["pid"])
    [supervisor] = guardian.children()
    if name in ("guardian", "supervisor"):
        return {"guardian": guardian, "supervisor": supervisor}[name]
    [found] = [
        child
        for child in supervisor.children()
        if Path(f"/proc/{child.pid}/fd/1").resolve() == person.state / f"logs/{name}.log"
    ]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="system: only Linux has /proc and subreapers")
@pytest.mark.parametrize(
    "name",
    [
        "scheduler",
        *(
            pytest.param(each, marks=pytest.mark.full)
            for each in ("local-aws", "api-server", "dag-processor", "triggerer", "supervisor", "guardian")
        ),
    ],
)
def test_a_killed_part_takes_all_down_and_status_says_so(person: Person, demo: tuple[int, str], name: str) -> None:
    status, output = person.type("up")
    assert status == 0, output
    assert len(person.processes()) > 8
    part(person, name).kill()
    assert not person.left_after(120)
    status, output = person.type("status")
    assert status == 3
    called = f"its {name}" if name in ("guardian", "supervisor") else name
    assert f"Not running: {called} was killed" in output
    assert re.search(r"this was at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", output)


def test_a_taken_port_is_one_sentence(person: Person, demo: tuple[int, str]) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(person.environment["UI_PORT"])))
        other.listen()
        status, output = person.type("demo")
    assert status == 1
    assert f"Port {person.environment['UI_PORT']}" in output
    assert "Traceback" not in output
    assert not person.left_after(30)


def test_an_interrupted_demo_ends_everything(person: Person, demo: tuple[int, str]) -> None:
    process = person.start("demo")
    assert process.stdout
    for line in process.stdout:
        if "is ready" in line:
            break
    assert len(person.processes()) > 8
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does, to all of the terminal's foreground
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert not person.left_after(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_interrupted_while_it_starts_leaves_nothing(person: Person, number: signal.Signals) -> None:
    for seconds in (1, 3, 8):
        process = person.start("demo")
        time.sleep(seconds)
        person.processes()
        process.send_signal(number)
        process.communicate(timeout=180)
        assert not person.left_after(60), seconds

"""How long readers of a served table wait for its swap: ``python -m benchmarks.warehouse_serving [--write]``.

One process asks MariaDB for a row by key in a loop while another swaps the table again and again. Needs a MariaDB or
MySQL server.
"""

import argparse
import multiprocessing
import time
from statistics import median, quantiles
from typing import Any

import sqlalchemy as sa

from benchmarks.api_logs import heading
from benchmarks.measure import goal, keep
from taxiway.core.databases import open_engine
from taxiway.lake import Table
from taxiway.warehouse.target import Target
from tests.dags.catalogue.databases import mariadb
from tests.dags.warehouse.test_target import keys, rows

TABLE = Table("warehouse", "zone_month")
LIMIT_MS = 50


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warehouse_serving", description=__doc__)
    parser.add_argument("--months", type=int, default=100, help="months of 265 zones in the table (%(default)s)")
    parser.add_argument("--swaps", type=int, default=30, help="swaps while it is read (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    options = parser.parse_args()
    with mariadb() as url:
        lines = _measure(url, options.months, options.swaps)
    text = "\n".join([f"{heading('sqlalchemy', 'pymysql')}.", "", *lines])
    print(text)
    if options.write:
        keep("python -m benchmarks.warehouse_serving --write", text)


def _measure(url: str, months: int, swaps: int) -> list[str]:
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("create database rides")
    engine = open_engine(sa.make_url(url).set(database="rides"))
    target, wanted = Target(engine, TABLE), keys(months, 265)
    renamed, during, staged_s = [], [], []
    spawn = multiprocessing.get_context("spawn")
    ready, stop, found = spawn.Event(), spawn.Event(), spawn.Queue()
    reader = spawn.Process(target=_read, args=(str(engine.url), ready, stop, found), daemon=True)
    for number in range(swaps + 1):
        began = time.perf_counter()
        staged = target.stage(rows(TABLE, wanted, trips=number))
        staged_s.append(time.perf_counter() - began)
        assert staged
        begin = time.time()
        renamed.append(target.swap(staged))
        during.append((begin, time.time()))
        if number == 0:
            reader.start()
            assert ready.wait(60)
    stop.set()
    reads = found.get(timeout=60)
    reader.join()
    swapping: list[float] = []
    others: list[float] = []
    for at, ms in reads:
        overlaps = any(begin <= at + ms / 1000 and at <= end for begin, end in during[1:])
        (swapping if overlaps else others).append(ms)
    said = (
        f"A table of {len(wanted):,} rows on MariaDB, swapped {swaps} times while another process read a row of it by "
        f"key {len(reads):,} times; what each read took:"
    )
    return [
        said,
        "",
        "| | reads | median ms | 99 % ms | longest ms |",
        "|---|--:|--:|--:|--:|",
        _line("while it was compared and swapped", swapping),
        _line("at other times, staging among them", others),
        "",
        f"The renaming itself took {median(renamed[1:]) * 1000:.1f} ms (median), staging {median(staged_s):.2f} s.",
        "",
        goal(f"The swap blocks readers for at most {LIMIT_MS} ms; longest read, ms", max(swapping), LIMIT_MS),
    ]


def _line(name: str, values: list[float]) -> str:
    return (
        f"| {name} | {len(values):,} | {median(values):.2f} | {quantiles(values, n=100)[-1]:.2f} | {max(values):.2f} |"
    )


def _read(url: str, ready: Any, stop: Any, found: Any) -> None:
    """Ask for a row in a loop; put (when a read began, the milliseconds that it took)."""
    reads: list[tuple[float, float]] = []
    query = sa.text("select trips from zone_month where month = '2023-01' and zone_id = 7")
    with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        while not stop.is_set():
            at, began = time.time(), time.perf_counter()
            connection.execute(query).one()
            reads.append((at, (time.perf_counter() - began) * 1000))
            ready.set()
            time.sleep(0.001)
    found.put(reads)


if __name__ == "__main__":
    main()

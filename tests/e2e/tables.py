"""The published tables of the cluster's lake, held against the oracle."""

import os
from pathlib import Path

import pytest

from console.aws import local_environment
from console.options import ROOT
from tests.e2e.conftest import MONTH, Platform
from tests.oracle.comparison import difference
from tests.oracle.oracle import KEYS, PATHS, compute, month_of
from tests.oracle.programs import ZONE_LOOKUP

TRIPS = "curated/hvfhv_trips"


def copy_published(platform: Platform, pipeline: str, folder: Path) -> None:
    """Copy what a pipeline has published to a folder, as make results does on a laptop."""
    from console.demo import choose
    from laptop.results import copy_results

    with pytest.MonkeyPatch.context() as patch, platform.kubectl.forward("service/local-aws", 4566) as forward:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in local_environment(forward.url).items():
            patch.setenv(name, value)
        copy_results(choose({"PIPELINE": pipeline}), folder)


def require_equal_to_the_oracle(platform: Platform, folder: Path) -> None:
    """Copy what is published to a folder, and compare every table of the demo's month with the oracle's."""
    copy_published(platform, "hvfhv", folder)
    year, number = MONTH.split("-")
    published = sorted(f"{path.parent.name[5:]}-{path.name[6:]}" for path in (folder / TRIPS).glob("year=*/month=*"))
    assert MONTH in published
    files = {each: [ROOT / f"demos/hvfhv/sample/fhvhv_tripdata_sample_{each}.parquet"] for each in published}
    with compute(files, ZONE_LOOKUP) as oracle:
        for table, keys in KEYS.items():
            place = folder / PATHS[table] / f"year={year}" / f"month={number}"
            actual = f"FROM read_parquet('{place}/*.parquet', hive_partitioning := false)"
            found = difference(oracle, month_of(table, MONTH), actual, keys)
            assert not found, f"{table}: {found}"

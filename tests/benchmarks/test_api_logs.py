"""The contestants of the API logs' benchmark make the same, and layouts are measured."""

from pathlib import Path

import pytest

from benchmarks import api_logs, api_logs_layout
from benchmarks.api_logs_contestants import CONTESTANTS, HOUR, totals

pytestmark = pytest.mark.slow  # starts an endpoint; imports the engines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api_logs, "BENCH", tmp_path_factory.mktemp("bench"))
        made = api_logs.make_objects(12_000)
        assert api_logs.make_objects(12_000) == made
    return made


def test_contestants_make_the_same(folder: Path) -> None:
    found = {}
    for name, convert in CONTESTANTS.items():
        target = folder / "made" / name
        target.mkdir(parents=True)
        convert(folder, target)
        found[name] = totals(target)
    assert found["loop"] == found["unencrypted"] == found["ours"]
    assert found["ours"][:2] == [12_000, 12_000]


def test_layouts_and_partitions_are_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_logs_layout, "CODECS", ("zstd",))
    monkeypatch.setattr(api_logs_layout, "GROUPS", (16_384,))
    monkeypatch.setattr(api_logs_layout, "QUERIES", dict([*api_logs_layout.QUERIES.items()][:1]))
    rows = folder / f"made/ours/event={HOUR}/part-0.parquet"
    lines = [*api_logs_layout._ratio(api_logs.SAMPLE), *api_logs_layout._compare(tmp_path / "aws", rows, 30, 1)]
    text = "\n".join(lines)
    assert "| occurred_at | zstd | 16,384 | 8 |" in text
    assert "| partition projection |" in text
    assert "The shipped 5,368 events of 6 hours: 2.36 MB of JSON" in text

"""A version is served as it was written, or refused in one sentence."""

import io
import json
import pickle

import lightgbm
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from spark_jobs.eta import model as subject
from spark_jobs.eta.features import NAMES
from spark_jobs.eta.model import FILES, Model, ModelError
from spark_jobs.eta.trees import Node, text

EXPECTED = NAMES.index("expected_wait_s")
WAITS = NAMES.index("live_city_wait_s")


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    found = np.random.default_rng(4).uniform(1, 500, (2_000, len(NAMES)))
    found[:, NAMES.index("pickup_zone_id")] = 132
    return found


@pytest.fixture(scope="module")
def files(rows: np.ndarray) -> dict[str, bytes]:
    """Return a version that has learnt that a rider waits as long as the others just did."""
    label = rows[:, WAITS] - rows[:, EXPECTED]
    p50 = lightgbm.train({"verbose": -1, "num_leaves": 15}, lightgbm.Dataset(rows, label), 30)
    lagged = pa.table(
        {
            "pickup_zone_id": pa.array([None, 132], pa.int32()),
            "request_hour": pa.array([None, 8], pa.int32()),
            "wait_s": pa.array([240, 310], pa.int32()),
            "requests": [900, 30],
        }
    )
    buffer = io.BytesIO()
    parquet.write_table(lagged, buffer)
    return {
        "features.json": subject.feature_contract().encode(),
        "p50.txt": p50.model_to_string().encode(),
        "p90.txt": text([(1.0, {0: Node(60.0, -1, -1, 0, 0.0)})], NAMES).encode(),
        "calibration.json": json.dumps({"p90_offset_s": 15.5}).encode(),
        "lagged.parquet": buffer.getvalue(),
    }


def test_predictions_are_added_to_what_is_expected(files: dict[str, bytes], rows: np.ndarray) -> None:
    model = Model.read("v1", files)
    p50, p90 = model.predict(rows)
    trees = lightgbm.Booster(model_str=files["p50.txt"].decode()).predict(rows)
    assert p50.tolist() == np.maximum(np.asarray(trees) + rows[:, EXPECTED], 0).tolist()
    assert p90.tolist() == np.maximum(rows[:, EXPECTED] + 60 + 15.5, p50).tolist()
    assert np.abs(p50 - rows[:, WAITS]).mean() < 40
    assert model.lagged.wait_s([132, 132], [8, 9]).tolist() == [310, 240]


def test_the_90th_percentile_may_be_over_several_features(files: dict[str, bytes], rows: np.ndarray) -> None:
    calibration = {"p90_offset_s": 0, "p90_added": ["expected_wait_s", "live_city_20_excess_s"]}
    p50, p90 = Model.read("v1", files | {"calibration.json": json.dumps(calibration).encode()}).predict(rows)
    over = rows[:, EXPECTED] + rows[:, NAMES.index("live_city_20_excess_s")] + 60
    np.testing.assert_allclose(p90, np.maximum(over, p50))


def test_a_pickled_model_predicts_the_same(files: dict[str, bytes], rows: np.ndarray) -> None:
    model = Model.read("v1", files)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.version == "v1"
    assert [part.tolist() for part in copy.predict(rows)] == [part.tolist() for part in model.predict(rows)]


def test_one_row_and_no_row(files: dict[str, bytes], rows: np.ndarray) -> None:
    model = Model.read("v1", files)
    assert model.predict(rows[:1])[0].tolist() == model.predict(rows)[0][:1].tolist()
    assert [len(part) for part in model.predict(rows[:0])] == [0, 0]


def other_contract() -> bytes:
    contract = json.loads(subject.feature_contract())
    contract["features"].reverse()
    return json.dumps(contract).encode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        *[(name, None, f"v1 of the model lacks {name}") for name in FILES],
        ("features.json", other_contract(), "another feature contract"),
        ("features.json", b'{"contract": 0}', "another feature contract"),
        ("features.json", b"{", "features.json of version v1"),
        ("p50.txt", b"tree\n", "p50.txt and p90.txt of version v1"),
        ("p90.txt", text([(1.0, {0: Node(60.0, -1, -1, 0, 0.0)})], ("a", "b")).encode(), "p50.txt and p90.txt"),
        ("p50.txt", b"\xff\xfe", "p50.txt and p90.txt"),
        ("calibration.json", b'{"p90_offset_s": NaN}', "calibration.json of version v1"),
        ("calibration.json", b'{"p90_offset_s": 1, "p90_added": ["luck"]}', "calibration.json|p50.txt"),
        ("calibration.json", b"[]", "calibration.json of version v1"),
        ("lagged.parquet", b"PAR1", "lagged.parquet of version v1"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_a_broken_version_is_refused_in_one_sentence(
    files: dict[str, bytes], name: str, content: bytes | None, said: str
) -> None:
    changed = {other: kept for other, kept in files.items() if other != name}
    if content is not None:
        changed[name] = content
    with pytest.raises(ModelError, match=said) as caught:
        Model.read("v1", changed)
    assert str(caught.value).count("\n") == 0
    assert "promote another" in str(caught.value) or "train a version" in str(caught.value)


def test_trees_that_were_cut_are_refused(files: dict[str, bytes]) -> None:
    """LightGBM itself reads the trees that are there."""
    whole = files["p50.txt"]
    with pytest.raises(ModelError, match=r"p50\.txt"):
        Model.read("v1", files | {"p50.txt": whole[: len(whole) // 2]})


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    with pytest.raises(ModelError, match="LightGBM is not installed here"):
        Model.read("v1", files)

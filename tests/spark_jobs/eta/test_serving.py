"""The live version: found by its pointer, checked, replaced while running, refused where it cannot be served."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from spark_jobs.eta.model import ModelError
from spark_jobs.eta.serving import Folder, LiveModel, Registry, UnreachableError
from spark_jobs.eta.states import BatchStates
from tests.aws_in_memory import aws_in_memory
from tests.spark_jobs.eta import versions
from tests.spark_jobs.eta.versions import BUCKET, LAKE


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return versions.files(1)


@pytest.fixture
def s3(contents: dict[str, bytes]) -> Iterator[Any]:
    """Return a client of an S3 in memory with two versions."""
    with aws_in_memory():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for version in ("v1", "v2"):
            versions.put(client, version, contents)
        yield client


@pytest.fixture
def refused() -> list[str]:
    return []


def test_the_pointer_s_version_is_served_with_its_metrics(s3: Any, refused: list[str]) -> None:
    versions.promote(s3, "v1")
    live = LiveModel(Registry(LAKE), refused.append).current
    assert (live.model.version, live.metrics["mae_s"]) == ("v1", 100.0)
    assert live.promoted_s == pytest.approx(1795662000)


@pytest.mark.usefixtures("s3")
def test_without_a_live_version_one_sentence_says_what_to_do(refused: list[str]) -> None:
    with pytest.raises(
        ModelError, match=r"There is no live model: s3://lake/models/eta/live.json does not exist; .*promote"
    ):
        LiveModel(Registry(LAKE), refused.append)


def test_a_promotion_is_taken_up(s3: Any, refused: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    versions.promote(s3, "v1")
    live = LiveModel(Registry(LAKE), refused.append)
    live.look()
    assert live.current.model.version == "v1"
    versions.promote(s3, "v2")
    live.look()
    assert live.current.model.version == "v2"
    assert capsys.readouterr().err == "Version v2 is served now.\n"
    assert live.of("v1").model.version == "v1"
    assert live.of("gone").model.version == "v2"


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("metrics.json", "The version bad is not in s3://lake/models/eta/bad, or is not complete: promote another."),
        ("p90.txt", "lacks p90.txt: promote another version."),
        ("features.json", "lacks features.json: promote another version."),
    ],
)
def test_a_version_that_is_not_complete_is_refused_once(
    s3: Any,
    refused: list[str],
    contents: dict[str, bytes],
    part: str,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    versions.promote(s3, "v1")
    live = LiveModel(Registry(LAKE), refused.append)
    versions.put(s3, "bad", {name: content for name, content in contents.items() if name != part})
    versions.promote(s3, "bad")
    for _ in range(3):
        live.look()
    assert live.current.model.version == "v1"
    assert len(refused) == 1
    said = capsys.readouterr().err
    assert text in said
    assert said.count("Version v1 goes on.") == 1
    versions.promote(s3, "v2")
    live.look()
    assert live.current.model.version == "v2"


def test_at_the_start_the_version_before_one_that_is_gone_is_served(s3: Any, refused: list[str]) -> None:
    versions.promote(s3, "gone", previous="v2")
    assert LiveModel(Registry(LAKE), refused.append).current.model.version == "v2"
    assert len(refused) == 1
    versions.promote(s3, "gone")
    with pytest.raises(ModelError, match="The version gone is not in"):
        LiveModel(Registry(LAKE), refused.append)


def test_an_s3_that_is_away_refuses_no_version(s3: Any, refused: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    versions.promote(s3, "v1")
    live = LiveModel(Registry(LAKE), refused.append)
    s3.delete_object(Bucket=BUCKET, Key="models/eta/live.json")
    for version in ("v1", "v2"):
        for name in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"models/eta/{version}")["Contents"]:
            s3.delete_object(Bucket=BUCKET, Key=name["Key"])
    s3.delete_bucket(Bucket=BUCKET)
    live.look()
    assert refused == []
    assert "cannot be reached" in capsys.readouterr().err
    with pytest.raises(UnreachableError):
        Folder(LAKE).write("x", b"")


@pytest.mark.parametrize("address", ["/tmp/models", "lake", "s3://", "file:///lake"])
def test_only_folders_on_s3_are_taken(address: str) -> None:
    with pytest.raises(ValueError, match="is not a folder on S3; write it as s3://bucket/prefix"):
        Folder(address)


@pytest.mark.usefixtures("s3")
def test_states_of_the_last_batches_are_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    def states() -> BatchStates:
        return BatchStates(Folder(f"{LAKE}/states"))

    kept = states()
    assert kept.before(0) is None
    for batch in range(7):
        assert kept.of(batch) is None
        assert kept.before(batch) == (f"state {batch - 1}".encode() if batch else None)
        kept.keep(batch, f"state {batch}".encode())
    # Another process does the last batch again, or goes on with the next.
    assert (states().of(6), states().before(6), states().before(7)) == (b"state 6", b"state 5", b"state 6")
    assert states().of(7) is None
    assert capsys.readouterr().err == ""
    assert states().before(99) is None
    assert "no state before batch 99" in capsys.readouterr().err

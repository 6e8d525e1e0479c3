"""The registry: versions are found when they are complete, the pointer has one writer at a time, old ones go."""

import json
import threading
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from taxiway.eta import __main__ as command
from taxiway.eta.registry import ConflictError, Live, Registry, RegistryError
from taxiway.eta.settings import eta_settings
from tests.dags.eta.models import LATER, NEW, OLD, write


@pytest.fixture
def registry(aws: str, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    return Registry(boto3.client("s3"), "s3://taxiway-lake")


def promote(registry: Registry, version: str) -> Live:
    return registry.promote(version, by="test", reason="Because.", seen=registry.live())


def test_a_version_is_there_when_its_metrics_are(registry: Registry) -> None:
    write(NEW)
    write(OLD)
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key=f"models/eta/{LATER}/p50.txt", Body=b"trees")
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key="models/eta/notes/metrics.json", Body=b"{}")

    assert registry.versions() == [OLD, NEW]
    assert registry.metrics(NEW)["test_month"] == "2023-05"
    with pytest.raises(RegistryError, match=f"has no complete version {LATER}; there are: {OLD}, {NEW}"):
        registry.metrics(LATER)
    with pytest.raises(RegistryError, match=f"has no complete version {LATER}"):
        promote(registry, LATER)
    assert registry.live() is None


def test_a_promotion_moves_the_pointer_and_a_roll_back_moves_it_back(registry: Registry) -> None:
    write(OLD)
    write(NEW)
    with pytest.raises(RegistryError, match="There is no version to go back to: none is live"):
        registry.roll_back(by="test")

    promote(registry, OLD)
    with pytest.raises(RegistryError, match=f"There is no version to go back to: {OLD} is live"):
        registry.roll_back(by="test")
    promote(registry, NEW)

    live = registry.live()
    assert live
    assert (live.version, live.previous, live.by, live.reason) == (NEW, OLD, "test", "Because.")
    stored = json.loads(boto3.client("s3").get_object(Bucket="taxiway-lake", Key="models/eta/live.json")["Body"].read())
    assert set(stored) == {"version", "previous", "promoted_at", "by", "reason"}

    back = registry.roll_back(by="test")
    assert (back.version, back.previous, back.reason) == (OLD, NEW, f"Rolled back from {NEW}.")
    again = registry.roll_back(by="test")
    assert (again.version, again.previous) == (NEW, OLD), "a second roll-back undoes the first"


def test_a_repeated_promotion_changes_nothing(registry: Registry) -> None:
    """As of a task that died after its work: the pointer that it saw is not the current one."""
    write(OLD)
    write(NEW)
    promote(registry, OLD)
    seen = registry.live()
    registry.promote(NEW, by="test", reason="Because.", seen=seen)

    again = registry.promote(NEW, by="test", reason="Because.", seen=seen)

    assert (again.version, again.previous) == (NEW, OLD)


@pytest.mark.parametrize("first", [True, False], ids=["no version is live", "one is live"])
def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(first: bool, registry: Registry) -> None:
    write(OLD)
    write(NEW)
    write(LATER)
    if not first:
        promote(registry, OLD)
    seen = registry.live()
    barrier, results = threading.Barrier(2), dict[str, Live | ConflictError]()

    def move(version: str) -> None:
        own = Registry(boto3.session.Session().client("s3"), "s3://taxiway-lake")
        barrier.wait()
        try:
            results[version] = own.promote(version, by=f"run of {version}", reason="Because.", seen=seen)
        except ConflictError as error:
            results[version] = error

    threads = [threading.Thread(target=move, args=(version,)) for version in (NEW, LATER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (winner,) = [version for version, result in results.items() if isinstance(result, Live)]
    (loser,) = {NEW, LATER} - {winner}
    live = registry.live()
    assert live
    assert (live.version, live.previous) == (winner, None if first else OLD)
    assert str(results[loser]) == (
        f"{loser} was not promoted: the live model has changed meanwhile, {winner}, promoted by run of {winner}, is "
        "live now; compare the two and promote again."
    )


def test_a_denied_promotion_is_no_conflict(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    write(OLD)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "PutObject")

    monkeypatch.setattr(registry._s3, "put_object", refuse)
    with pytest.raises(ClientError, match="AccessDenied"):
        promote(registry, OLD)


def test_old_versions_go_and_those_in_use_stay(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [f"202601{day:02d}T000000-2023-04" for day in range(1, 8)]
    for version in versions:
        write(version)
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key="models/eta/20260108T000000-2023-04/p50.txt", Body=b"x")
    promote(registry, versions[0])
    promote(registry, versions[1])
    assert registry.prune(2) == [], "all were written to today"

    monkeypatch.setattr("taxiway.eta.registry.timedelta", lambda **_: timedelta(days=-1))
    gone = registry.prune(2)

    assert gone == [*versions[2:5], "20260108T000000-2023-04"], "what a lost training left goes too"
    assert registry.versions() == [*versions[:2], *versions[5:]]
    pages = boto3.client("s3").list_objects_v2(Bucket="taxiway-lake", Prefix="models/eta/", Delimiter="/")
    assert [each["Prefix"].split("/")[2] for each in pages["CommonPrefixes"]] == registry.versions()
    live = registry.live()
    assert live
    assert live.version == versions[1]


def test_a_version_is_no_version_as_soon_as_its_deletion_begins(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (OLD, NEW, LATER):
        write(version)
    monkeypatch.setattr("taxiway.eta.registry.timedelta", lambda **_: timedelta(days=-1))

    delete = registry._s3.delete_objects

    def die(**given: Any) -> None:
        delete(**given)
        raise KeyboardInterrupt

    monkeypatch.setattr(registry._s3, "delete_objects", die)
    with pytest.raises(KeyboardInterrupt):
        registry.prune(2)

    assert registry.versions() == [NEW, LATER]


# ── The command line ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_person_lists_promotes_and_rolls_back(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    eta_settings.cache_clear()
    assert command.main(["models"]) == 0
    assert "has no version yet: run the DAG eta_model_training.\nNo version is live." in capsys.readouterr().out
    write(OLD)
    write(NEW, mae_s=120.0)

    assert command.main(["promote", OLD]) == 0
    assert capsys.readouterr().out == f"{OLD} is live.\n"
    assert command.main(["promote", NEW, "--reason", "A trial."]) == 0
    out = capsys.readouterr().out
    assert f"{NEW} is live.\nThe gate would not have promoted it: its error of 120.0 s is not 3.0% below" in out
    assert command.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [NEW, OLD]
    assert "2023-01 … 2023-02" in lines[1]
    assert lines[1].endswith("120.0 s   121.7 s   1.4%  90.0%  live")
    assert lines[2].endswith("113.0 s   121.7 s   7.1%  90.0%  before")
    assert "A trial." in lines[3]

    assert command.main(["roll-back"]) == 0
    assert capsys.readouterr().out == f"{OLD} is live again.\n"


def test_what_cannot_be_done_is_one_sentence(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["promote", OLD]) == 1
    assert capsys.readouterr().err == (
        f"s3://taxiway-lake/models/eta has no complete version {OLD}; there are: none.\n"
    )
    assert command.main(["roll-back"]) == 1
    assert capsys.readouterr().err == "There is no version to go back to: none is live.\n"
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key="models/eta/live.json", Body=b"{}")
    assert command.main(["models"]) == 1
    assert "live.json is not a pointer to a model: remove it and promote a version." in capsys.readouterr().err


def test_a_pointer_to_a_version_that_is_gone_is_said(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    write(OLD)
    write(NEW)
    promote(registry, NEW)
    boto3.resource("s3").Bucket("taxiway-lake").objects.filter(Prefix=f"models/eta/{NEW}/").delete()

    assert command.main(["models"]) == 0
    assert f"The live version {NEW} is gone: promote another one." in capsys.readouterr().out
    assert command.main(["promote", OLD]) == 0, "the only way out"
    assert capsys.readouterr().out == f"{OLD} is live.\n"
    assert command.main(["roll-back"]) == 1
    assert f"has no complete version {NEW}" in capsys.readouterr().err

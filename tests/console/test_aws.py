"""Calls of the local AWS endpoint while it is away."""

import pytest
from botocore.exceptions import ClientError

from console.aws import local_client, patient_call
from console.errors import UserError


def test_an_endpoint_that_is_away_is_waited_for(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.patience.PATIENCE_S", 60)
    addresses, said = ["http://127.0.0.1:1", "http://127.0.0.1:1", aws], list[str]()

    def call() -> object:
        return local_client("s3", addresses.pop(0)).list_buckets()["Buckets"]

    assert patient_call(call, said.append) == []
    assert not addresses
    assert len(said) == 2
    assert said[0].startswith("The AWS endpoint does not answer (")
    assert said[1].startswith("The AWS endpoint answers again after ")


def test_what_it_refuses_is_not_tried_again(aws: str) -> None:
    said = list[str]()
    with pytest.raises(ClientError, match="NoSuchBucket"):
        patient_call(lambda: local_client("s3", aws).list_objects_v2(Bucket="none"), said.append)
    assert not said


@pytest.mark.slow
def test_an_endpoint_that_stays_away_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.patience.PATIENCE_S", 0)
    with pytest.raises(UserError, match=r"^The AWS endpoint has not answered for 0 s \(.+\): make status shows"):
        patient_call(lambda: local_client("s3", "http://127.0.0.1:1").list_buckets(), lambda _: None)

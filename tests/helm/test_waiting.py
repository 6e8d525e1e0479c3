"""Pods that wait for the migration on MySQL look at its tables without a transaction, and nothing else does."""

import sys
from types import ModuleType

import pytest

from tests.helm.rendering import render

WAIT = ["airflow", "db", "check-migrations", "--migration-wait-timeout=600"]


def local_settings() -> ModuleType:
    """Return the module as the pods import it."""
    text = render("kind", ("mysql-metadata",)).named("ConfigMap", "airflow-config")["data"]["airflow_local_settings.py"]
    module = ModuleType("airflow_local_settings")
    exec(text, module.__dict__)
    return module


def commits_by_itself(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether a command's connections have no transactions; Airflow itself asks for them."""
    monkeypatch.setattr(sys, "argv", arguments)
    given = {"isolation_level": "SERIALIZABLE"}
    engine = local_settings().create_metadata_engine("sqlite://", engine_args=given, connect_args={})
    assert given == {"isolation_level": "SERIALIZABLE"}, "the caller's own arguments stay"
    with engine.connect() as connection:
        return connection.connection.dbapi_connection.isolation_level is None  # as sqlite3 calls it


@pytest.mark.slow
def test_a_waiting_pod_holds_no_lock_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert commits_by_itself(WAIT, monkeypatch)


@pytest.mark.parametrize("words", [["db", "migrate"], ["scheduler"], ["dag-processor"], ["db", "check"], []])
def test_all_else_keeps_its_transactions(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not commits_by_itself(["airflow", *words], monkeypatch)


def test_every_pod_that_waits_does_so_by_that_command_and_has_the_module() -> None:
    waiting = 0
    for pod in render("kind", ("mysql-metadata",)).pods:
        for container in pod.containers:
            if container.name == "wait-for-airflow-migrations":
                waiting += 1
                assert container.spec["args"][:3] == WAIT[:3]
                assert "command" not in container.spec
                mounts = {mount["mountPath"] for mount in container.spec["volumeMounts"]}
                assert "/opt/airflow/config/airflow_local_settings.py" in mounts
    assert waiting == 5


def test_airflow_takes_the_engine_from_the_module() -> None:
    settings = pytest.importorskip("airflow.settings")
    from inspect import signature

    ours, theirs = local_settings().create_metadata_engine, settings.create_metadata_engine
    assert set(signature(ours).parameters) == set(signature(theirs).parameters)

"""Settings of the HVFHV pipeline, and their names of version 0.1."""

import logging

import pytest

from taxiway.core.pipelines import check_settings
from taxiway.core.settings import SettingsError
from taxiway.hvfhv.settings import HvfhvSettings


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("TAXIWAY_HVFHV_FIRST_MONTH", "2019-13", "first month that catch-up collects"),
        ("TAXIWAY_HVFHV_CATCHUP", "perhaps", "valid boolean"),
        ("TAXIWAY_HVFHV_DOWNLOAD_TIMEOUT_S", "soon", "valid number"),
        ("TAXIWAY_FIRST_MONTH", "2019-13", "first month that catch-up collects"),
    ],
)
def test_a_wrong_value_is_reported_under_the_name_that_set_it(
    variable: str, value: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        check_settings()
    assert str(caught.value).startswith(f"{variable}={value!r} cannot be used: ")
    assert part in str(caught.value)


def test_a_former_name_still_counts_and_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TAXIWAY_FIRST_MONTH", "2023-01")
    monkeypatch.setenv("TAXIWAY_JOIN_MINUTES", "2")
    with caplog.at_level(logging.WARNING):
        read = HvfhvSettings.read()
    assert (read.first_month, read.join_minutes, read.months_wait_h) == ("2023-01", 2, 24)
    assert "TAXIWAY_FIRST_MONTH is now called TAXIWAY_HVFHV_FIRST_MONTH: rename it where it is set." in caplog.messages
    assert len(caplog.messages) == 2


def test_the_new_name_wins(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TAXIWAY_CATCHUP", "true")
    monkeypatch.setenv("TAXIWAY_HVFHV_CATCHUP", "false")
    assert HvfhvSettings.read().catchup is False
    assert caplog.messages == []

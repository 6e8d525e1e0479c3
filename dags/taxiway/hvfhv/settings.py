"""Settings of the HVFHV pipeline: ``TAXIWAY_HVFHV_…``."""

from functools import cache

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from taxiway.core.settings import Month, TypedSettings


class HvfhvSettings(TypedSettings):
    """Settings of the HVFHV pipeline, in addition to the shared ones; field ``x`` is set by ``TAXIWAY_HVFHV_X``."""

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_HVFHV_")
    former_names = {  # noqa: RUF012 - a class variable of the base
        name: f"TAXIWAY_{name.upper()}"
        for name in ("first_month", "catchup", "download_timeout_s", "scratch_dir", "join_minutes", "months_wait_h")
    }

    first_month: Month = Field(
        default="2019-02", description="first month that catch-up collects; HVFHV data starts at 2019-02"
    )
    catchup: bool = Field(default=True, description="collect all months since first_month when the DAG is unpaused")
    download_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="seconds without a byte until a download fails"
    )
    scratch_dir: str | None = Field(
        default=None, description="folder for temporary files while they are checked; the system's by default"
    )
    join_minutes: float = Field(
        30, ge=0, le=24 * 60, description="minutes that an analysis waits for other downloads, to share its cluster"
    )
    months_wait_h: float = Field(default=24, gt=0, le=24 * 14, description="hours to wait until a month is complete")


@cache
def hvfhv_settings() -> HvfhvSettings:
    """Return the settings, cached for the process.

    Raises:
        taxiway.core.settings.SettingsError: a value cannot be used.
    """
    return HvfhvSettings.read()

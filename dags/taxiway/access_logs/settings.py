"""Settings of the access-log pipeline: ``TAXIWAY_ACCESS_LOGS_…``."""

from functools import cache

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from taxiway.core.settings import TypedSettings


class AccessLogsSettings(TypedSettings):
    """Settings of the access-log pipeline, in addition to the shared ones."""

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_ACCESS_LOGS_")

    scheduled: bool = Field(default=True, description="run every day; false leaves it to people")
    first_day: str = Field(
        default="2026-01-01",
        pattern=r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$",
        description="first day that is scheduled",
    )
    catchup: bool = Field(default=False, description="run all days since first_day when the DAG is unpaused")
    wait_h: float = Field(default=24, gt=0, le=24 * 7, description="hours to wait until a day's folder is complete")
    late_days: int = Field(
        default=7, ge=0, le=60, description="days before a run's day that it looks at for files that came late"
    )
    count_days: int = Field(
        default=7, ge=3, le=60, description="days before a day that the number of its lines is compared with"
    )
    count_factor: float = Field(
        default=10,
        ge=0,
        le=1000,
        description="times by which a day's lines may exceed or fall below the median of these days; 0: any number",
    )


@cache
def access_logs_settings() -> AccessLogsSettings:
    """Return the settings, cached for the process.

    Raises:
        taxiway.core.settings.SettingsError: a value cannot be used.
    """
    return AccessLogsSettings.read()

"""Settings of the API logs: ``TAXIWAY_API_LOGS_…``."""

from functools import cache
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from taxiway.api_logs import hours
from taxiway.core.settings import TypedSettings

Hour = Annotated[str, Field(pattern=hours.PATTERN)]


class ApiLogsSettings(TypedSettings):
    """Settings of the API logs, in addition to the shared ones; field ``x`` is set by ``TAXIWAY_API_LOGS_X``."""

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_API_LOGS_")

    first_hour: Hour = Field(default="2026-01-01-00", description="first arrival hour that catch-up takes")
    scheduled: bool = Field(default=True, description="run every hour; false leaves it to people")
    catchup: bool = Field(default=True, description="take all hours since first_hour when the DAG is unpaused")
    recheck_hours: int = Field(
        default=24, ge=0, le=24 * 14, description="hours before its own whose new or changed objects a run takes too"
    )
    batch_mb: int = Field(
        default=32,
        ge=1,
        le=100_000,
        description="megabytes of objects that a task takes at least, if there are so many",
    )
    max_batches: int = Field(default=16, ge=1, le=200, description="tasks of a run that convert, or build, at once")

    # Keys.
    key_prefix: str = Field(
        default="taxiway-api-logs/master-keys/",
        min_length=1,
        description="secrets of Secrets Manager that hold the master keys: this and the key's id",
    )
    pseudonym_key: str = Field(
        default="taxiway-api-logs/pseudonym-key",
        min_length=1,
        description="secret that holds the key of the pseudonyms",
    )
    pseudonym_days: int = Field(
        default=90, ge=1, le=3660, description="days of a period, after which another key makes the pseudonyms"
    )
    skew_s: int = Field(
        default=120, ge=0, le=3600, description="seconds that a sender's clock may be ahead of its arrival hour's end"
    )

    # Athena.
    workgroup: str = Field(
        default="taxiway-api-logs", pattern=r"^[A-Za-z0-9._-]{1,128}$", description="Athena workgroup of all queries"
    )
    scan_limit_mb: int = Field(
        default=10_000,
        ge=10,
        le=7_000_000,
        description="megabytes that a query may scan, of a workgroup made by set-up",
    )
    query_minutes: float = Field(default=10, gt=0, le=30, description="minutes that a query may take")


@cache
def api_logs_settings() -> ApiLogsSettings:
    """Return the settings, cached for the process.

    Raises:
        taxiway.core.settings.SettingsError: a value cannot be used.
    """
    return ApiLogsSettings.read()

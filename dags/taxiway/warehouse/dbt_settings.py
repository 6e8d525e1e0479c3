"""Settings of dbt: ``TAXIWAY_DBT`` and ``TAXIWAY_DBT_…``."""

from functools import cache

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from taxiway.core.settings import S3Uri, TypedSettings


class DbtSettings(TypedSettings):
    """Settings of the tasks that run dbt, in addition to the shared ones."""

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_")

    dbt: str = Field(default="dbt", min_length=1, description="the program dbt, in an environment of its own")
    dbt_threads: int = Field(default=4, ge=1, le=32, description="queries that dbt has Athena answer at once")
    dbt_workgroup: str = Field(default="primary", min_length=1, description="Athena's workgroup for them")
    dbt_results: S3Uri | None = Field(
        default=None,
        description="where Athena keeps their results; by default athena/dbt in the bucket of TAXIWAY_EMR_LOGS",
    )


@cache
def dbt_settings() -> DbtSettings:
    """Return the settings, cached for the process.

    Raises:
        taxiway.core.settings.SettingsError: a value cannot be used.
    """
    return DbtSettings.read()

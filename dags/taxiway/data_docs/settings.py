"""Settings of the data-docs page: ``TAXIWAY_DATA_DOCS_…``."""

from functools import cache

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from taxiway.core.settings import TypedSettings


class DataDocsSettings(TypedSettings):
    """Settings of the page, in addition to the shared ones; field ``x`` is set by ``TAXIWAY_DATA_DOCS_X``."""

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_DATA_DOCS_")

    incident_days: int = Field(default=90, ge=1, le=3660, description="days for which closed incidents are shown")
    storage_usd: float = Field(
        default=0.023, ge=0, le=10, description="list price of a GB of storage a month, in US dollars (S3 Standard)"
    )


@cache
def data_docs_settings() -> DataDocsSettings:
    """Return the settings, read once a process."""
    return DataDocsSettings.read()

"""Settings of the warehouse: ``TAXIWAY_WAREHOUSE_…``."""

from functools import cache
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from taxiway.core.settings import TypedSettings

Day = Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]
# {lake} is replaced by the setting TAXIWAY_LAKE.
Address = Annotated[str, Field(pattern=r"^(https?://|file:///|s3://|\{lake\}/)\S+$")]


class WarehouseSettings(TypedSettings):
    """Settings of the warehouse, in addition to the shared ones; field ``x`` is set by ``TAXIWAY_WAREHOUSE_X``."""

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_WAREHOUSE_")

    scheduled: bool = Field(default=True, description="load every day; false leaves it to people")
    catchup: bool = Field(default=False, description="run all days since first_day when the DAG is unpaused")
    first_day: Day = Field(default="2026-01-01", description="first day that catch-up and backfills take")
    scratch_dir: str | None = Field(
        default=None, min_length=1, description="folder for temporary files; by default the system's"
    )

    # Sources of the tables that are read as a whole.
    names: Address = Field(
        default="{lake}/reference/name_gender.csv",
        description="CSV of first names: name, gender and, if known, probability; https, http, file or s3",
    )
    zones: Address = Field(
        default="https://d37ci6vzurychx.cloudfront.net/misc/taxi_zone_lookup.csv",
        description="CSV of TLC's taxi zones: LocationID, Borough, Zone, service_zone",
    )
    bases: Address = Field(
        default="{lake}/reference/fhv_bases.csv",
        description="CSV of bases: base_number, base_name, dba, dba_category",
    )
    shrink_below: float = Field(
        default=0.5, ge=0, le=1, description="share of the published rows below which a source is refused"
    )

    # The service's database.
    overlap_minutes: float = Field(
        default=60, ge=0, le=10_080, description="minutes before the mark that are read again, for late transactions"
    )
    safety_s: float = Field(
        default=60, ge=0, le=86_400, description="seconds before now that are left to the next load"
    )
    clock_skew_s: float = Field(
        default=300, gt=0, le=86_400, description="seconds that the source's clock may differ from ours"
    )
    sample_slices: int = Field(
        default=20, ge=1, le=10_000, description="a load compares one in so many keys with the source, others each time"
    )
    compare_keys_days: float = Field(
        default=7, ge=0, le=366, description="days after which all keys are compared again, to find removed rows"
    )


@cache
def warehouse_settings() -> WarehouseSettings:
    """Return the settings, cached for the process.

    Raises:
        taxiway.core.settings.SettingsError: a value cannot be used.
    """
    return WarehouseSettings.read()

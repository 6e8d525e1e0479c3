"""Settings of the arrival model: ``TAXIWAY_ETA_…``."""

from functools import cache
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from taxiway.core.settings import S3Uri, TypedSettings, WorkerSize, split_tags


class EtaSettings(TypedSettings):
    """Settings of the arrival model, in addition to the shared ones."""

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_ETA_")

    # Training.
    scheduled: bool = Field(
        default=True, description="train when months of HVFHV are published; false leaves it to people"
    )
    months: int = Field(default=24, ge=4, le=120, description="newest months that a model learns from and is tested on")
    month_rows: int = Field(default=1000, ge=100, le=10**9, description="rows that a month must have at least")
    wait_h: float = Field(default=6, gt=0, le=24 * 7, description="hours to wait for months that a run is asked for")
    kept_models: int = Field(default=5, ge=2, le=100, description="newest versions of the model to keep")
    application: str = Field(
        default="taxiway-eta",
        pattern=r"^[A-Za-z0-9._/#-]{1,64}$",
        description="EMR Serverless application for training and stream; no workers are kept ready",
    )
    environment: S3Uri | None = Field(
        default=None,
        description="packed Python environment for job runs (make eta-environment); None: the engine's Python has it",
    )
    tags: Annotated[dict[str, str], NoDecode] = Field(
        default={}, description="further tags of that application: key=value,key=value"
    )
    driver: WorkerSize = Field(
        default="4x30", description="size of the driver that trains LightGBM: vCPU x GB of memory"
    )

    # The gate.
    gate_gain: float = Field(
        default=0.03, ge=0, lt=1, description="share by which a model's error must be below the baseline's"
    )
    gate_worse: float = Field(
        default=0.02, ge=0, lt=1, description="share by which a group's error may exceed the live model's"
    )
    gate_rows: int = Field(default=1000, ge=1, le=10**9, description="test rows from which a group is gated")
    gate_coverage_low: float = Field(default=0.88, ge=0, le=1, description="least share of waits within p90")
    gate_coverage_high: float = Field(default=0.92, ge=0, le=1, description="greatest share of waits within p90")

    # The stream.
    bootstrap: str = Field(
        default="",
        pattern=r"^([^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*)?$",
        description="Kafka's bootstrap servers, host:port,host:port; empty: no stream runs on EMR Serverless",
    )
    kafka_config: str = Field(
        default="", description="ARN of a secret with properties of the stream's Kafka client; empty: none"
    )
    statsd: str = Field(
        default="",
        pattern=r"^([^\s,:]+:\d{1,5})?$",
        description="host:port to which the stream sends its metrics; empty: none",
    )
    stream_packages: str = Field(
        default="org.apache.spark:spark-sql-kafka-0-10_2.13:4.0.2",
        description="--packages of the stream; empty where the engine has Spark's connector to Kafka",
    )
    stream_driver: WorkerSize = Field(default="4x16", description="size of the stream's driver")
    stream_executor: WorkerSize = Field(default="4x16", description="size of the stream's executor")
    checkpoint: str = Field(
        default="stream",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="folder of the stream's checkpoint below <lake>/checkpoints/eta; a new name begins anew",
    )
    max_offsets: int = Field(
        default=20_000, ge=1, le=10**9, description="records that a batch of the stream takes at most"
    )

    @field_validator("tags", mode="before")
    @classmethod
    def _split_tags(cls, value: object) -> object:
        return split_tags(value)

    @model_validator(mode="after")
    def _coverage(self) -> "EtaSettings":
        if self.gate_coverage_low > self.gate_coverage_high:
            raise ValueError("TAXIWAY_ETA_GATE_COVERAGE_LOW is above TAXIWAY_ETA_GATE_COVERAGE_HIGH")
        return self


@cache
def eta_settings() -> EtaSettings:
    """Return the settings, cached for the process.

    Raises:
        taxiway.core.settings.SettingsError: a value cannot be used.
    """
    return EtaSettings.read()

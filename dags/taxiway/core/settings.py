"""Typed settings, read once from ``TAXIWAY_…`` environment variables: those that all pipelines share.

A laptop, a kind cluster and EKS run the same DAG files; what differs is set here. Every field has a safe default and
is validated on reading: an invalid value is an import error of the DAG with one clear sentence. A pipeline has
settings of its own in ``taxiway.<pipeline>.settings``, whose variables begin with ``TAXIWAY_<PIPELINE>_``.
"""

import json
import logging
import os
import re
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from taxiway.core import month

COMMIT = "{commit}"

log = logging.getLogger(__name__)

S3Uri = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/\s]+)*$")]
Month = Annotated[str, Field(pattern=month.PATTERN)]
InstanceType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9]+$")]


WorkerSize = Annotated[str, Field(pattern=r"^\d{1,2}x\d{1,3}$")]
# The memory, in GB, that a worker of EMR Serverless of so many vCPU may have.
WORKER_MEMORY = {
    1: tuple(range(2, 9)),
    2: tuple(range(4, 17)),
    4: tuple(range(8, 31)),
    8: tuple(range(16, 61, 4)),
    16: tuple(range(32, 121, 8)),
}


def worker_size(text: str) -> tuple[int, int]:
    """Return the vCPU and the GB of memory of a worker of EMR Serverless, written such as ``4x16``."""
    vcpu, _, gb = text.partition("x")
    return int(vcpu), int(gb)


def split_tags(value: object) -> object:
    """Return the tags of a text ``key=value,key=value``; anything else as it is.

    Raises:
        ValueError: a part is not ``key=value``.
    """
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if bad := [key for key, separator, _ in pairs if not separator or not key.strip()]:
        raise ValueError(f"{bad[0]!r} is not key=value")
    return {key.strip(): tag.strip() for key, _, tag in pairs}


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the text names the variable, the fault and the remedy."""


class ServerlessPrices(BaseModel):
    """List prices of EMR Serverless in US dollars: a vCPU-hour, a GB-hour of memory, one of storage above 20 GB.

    Attributes:
        as_of: when they were looked up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    as_of: str = Field(min_length=4)
    X86_64: tuple[float, float, float]
    ARM64: tuple[float, float, float]


class TypedSettings(BaseSettings):
    """Settings that are read from environment variables with a prefix and cannot be changed afterwards.

    Attributes:
        former_names: field → the variable that set it in an earlier version, which is still read.
    """

    model_config = SettingsConfigDict(env_prefix="TAXIWAY_", frozen=True, extra="ignore")
    former_names: ClassVar[dict[str, str]] = {}

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable of a field."""
        return f"{cls.model_config['env_prefix']}{field.upper()}"

    @classmethod
    def read(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            SettingsError: a value cannot be used; the text has one sentence for each.
        """
        former: dict[str, str] = {
            field: old
            for field, old in cls.former_names.items()
            if old in os.environ and cls.variable(field) not in os.environ
        }
        for field, old in former.items():
            log.warning("%s is now called %s: rename it where it is set.", old, cls.variable(field))
        try:
            given: dict[str, Any] = {field: os.environ[old] for field, old in former.items()}
            return cls(**given)
        except ValidationError as error:
            faults = (cls._sentence(dict(fault), former) for fault in error.errors())
            raise SettingsError(" ".join(faults)) from None

    @classmethod
    def _sentence(cls, fault: dict[str, Any], former: dict[str, str]) -> str:
        message = str(fault["msg"]).removeprefix("Value error, ")
        if not fault["loc"]:
            return f"{message}."
        name = str(fault["loc"][0])
        field = cls.model_fields[name]
        meaning = f" ({field.description})" if field.description else ""
        variable = f"{former.get(name) or cls.variable(name)}={fault['input']!r}"
        return f"{variable} cannot be used: {message}{meaning}; the default is {field.default!r}."


class Settings(TypedSettings):
    """The environment that all pipelines run in; field ``x`` is set by ``TAXIWAY_X``."""

    # Storage.
    lake: S3Uri = Field(
        default="s3://taxiway-lake", description="bucket (and prefix) of raw, curated, marts and reports"
    )
    spark_jobs: S3Uri = Field(
        default="s3://taxiway-artifacts/spark_jobs/latest",
        description=f"folder of the published Spark programs; {COMMIT} is replaced by the commit of the running DAGs",
    )
    jobs_wait_minutes: float = Field(
        default=10, ge=0, le=20, description="minutes to wait until the programs of the DAGs' commit are published"
    )
    emr_logs: S3Uri = Field(
        default="s3://taxiway-logs/emr", description="where EMR puts the logs of clusters and steps"
    )
    glue_database: str = Field(
        default="taxiway", pattern=r"^[a-z0-9_]{1,255}$", description="database of the Glue catalogue"
    )
    aws_conn_id: str | None = Field(default="aws_default", description="Airflow connection for AWS")
    kept_versions: int = Field(
        default=2, ge=2, le=50, description="versions of a partition to keep, including the current one"
    )

    poll_s: int = Field(
        default=30, ge=1, le=600, description="seconds between two polls of AWS or of the ingestion log"
    )

    # Where tasks run.
    isolated_executor: str | None = Field(
        default=None,
        min_length=1,
        description="executor for tasks that need much memory or a pod of their own, such as KubernetesExecutor; "
        "None is the deployment's default",
    )

    # The EMR cluster.
    emr_release: str = Field(default="emr-spark-8.0.0", description="EMR release label; emr-spark-8.0.0 is Spark 4.0.2")
    emr_primary_type: InstanceType = "m7g.xlarge"
    emr_worker_types: Annotated[tuple[InstanceType, ...], NoDecode] = Field(
        default=("r7g.xlarge", "r6g.xlarge", "r7g.2xlarge"),
        description="instance types of the workers, comma separated",
    )
    emr_on_demand_units: int = Field(
        default=2, ge=0, le=400, description="worker units on demand (an xlarge is 4 units)"
    )
    emr_spot_units: int = Field(
        default=6, ge=0, le=400, description="worker units on spot, or on demand if there is no spot capacity"
    )
    emr_max_units: int = Field(default=32, ge=1, le=400, description="ceiling of managed scaling, in units")
    emr_idle_minutes: int = Field(
        default=15, ge=1, le=7 * 24 * 60, description="idle minutes until EMR terminates the cluster by itself"
    )
    emr_step_concurrency: int = Field(default=4, ge=1, le=256, description="steps that run concurrently on the cluster")
    emr_step_hours: float = Field(default=6, gt=0, le=168, description="hours a step may take")
    emr_instance_role: str = Field(default="taxiway-emr-instance", min_length=1)
    emr_service_role: str = Field(default="taxiway-emr-service", min_length=1)
    emr_subnets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="subnets of the cluster, comma separated"
    )
    emr_security_configuration: str | None = None

    # EMR Serverless: an application and its workers. Sizes of workers are those that AWS offers.
    serverless_application: str = Field(
        default="taxiway",
        pattern=r"^[A-Za-z0-9._/#-]{1,64}$",
        description="name of the application: one of that name is used, or else created for a run and deleted after it",
    )
    serverless_release: str = Field(
        default="emr-spark-8.0.0", description="release label of the application; emr-spark-8.0.0 is Spark 4.0.2"
    )
    serverless_architecture: Literal["X86_64", "ARM64"] = "X86_64"
    serverless_role: str | None = Field(
        default=None,
        pattern=r"^arn:[a-z-]+:iam::\d{12}:role/.+$",
        description="ARN of the role that job runs have; a DAG that uses EMR Serverless needs it",
    )
    serverless_logs: S3Uri = Field(
        default="s3://taxiway-logs/emr-serverless", description="where EMR Serverless puts the logs of job runs"
    )
    serverless_driver: WorkerSize = Field(default="2x8", description="size of a driver: vCPU x GB of memory")
    serverless_executor: WorkerSize = Field(default="4x16", description="size of an executor: vCPU x GB of memory")
    serverless_executors: int = Field(default=2, ge=1, le=500, description="executors that a job run begins with")
    serverless_preinitialised: bool = Field(
        default=True,
        description="keep the driver and these executors ready while the application is started; that is billed",
    )
    serverless_max_vcpu: int = Field(default=16, ge=1, le=10_000, description="vCPU that all job runs may use together")
    serverless_max_gb: int = Field(default=128, ge=2, le=80_000, description="GB of memory that they may use together")
    serverless_max_disk_gb: int = Field(default=500, ge=20, le=200_000, description="GB of disk that they may use")
    serverless_idle_minutes: int = Field(
        default=5, ge=1, le=5, description="idle minutes until EMR Serverless stops the application by itself"
    )
    serverless_job_minutes: int = Field(
        default=120, ge=1, le=7 * 24 * 60, description="minutes after which EMR Serverless ends a job run"
    )
    serverless_prices: Annotated[ServerlessPrices, NoDecode] = Field(
        # us-east-1. ARM is 20 % below x86; none was seen on AWS's own page: check them before you rely on them.
        default=ServerlessPrices(
            as_of="November 2026",
            X86_64=(0.052624, 0.0057785, 0.000111),
            ARM64=(0.0420992, 0.0046228, 0.000111),
        ),
        description='list prices for estimates in US dollars as JSON: {"as_of": "a date", "X86_64": [a vCPU-hour, a '
        'GB-hour of memory, a GB-hour of storage], "ARM64": [the same]}',
    )

    cost_tags: Annotated[dict[str, str], NoDecode] = Field(
        default={"project": "taxiway"}, description="tags of every cluster for cost allocation: key=value,key=value"
    )

    # The platform's own DAGs.
    platform_dags: bool = Field(default=False, description="create platform_metrics and cost_guard unpaused")
    deadlines: bool = Field(
        default=False, description="give runs of the main DAGs a deadline; airflow dags test cannot run such a DAG"
    )
    freshness_incidents: bool = Field(
        default=False, description="have platform_metrics open an incident for data older than its contract says"
    )
    slack_conn_id: str = Field(
        default="slack_api_default",
        description="Airflow connection for notices, of type slack or slackwebhook; empty sends none",
    )
    slack_channel: str = Field(
        default="#taxiway", min_length=2, max_length=80, description="channel of the notices, its name or id"
    )
    cost_guard_ends: bool = Field(
        default=False, description="have cost_guard terminate resources that no run needs; false only reports them"
    )
    cost_guard_grace_minutes: float = Field(
        default=60, ge=0, le=7 * 24 * 60, description="minutes from first report until cost_guard terminates a resource"
    )
    cost_guard_hours: float = Field(
        default=24, gt=0, le=31 * 24, description="hours after which even an active run's cluster counts as not needed"
    )
    retention_unused_days: int = Field(
        default=180, ge=1, le=3650, description="days without a known reader after which a table is reported as unused"
    )
    retention_workgroups: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("primary",), description="Athena's workgroups whose queries count as reads, comma separated"
    )
    retention_queries: int = Field(
        default=2000, ge=0, le=100_000, description="newest queries of a workgroup that are looked at; 0: none"
    )
    cost_guard_serverless: bool = Field(
        default=False, description="have cost_guard check EMR Serverless too, which needs permissions for it"
    )

    @field_validator("emr_worker_types", "emr_subnets", "retention_workgroups", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cost_tags", mode="before")
    @classmethod
    def _split_tags(cls, value: object) -> object:
        return split_tags(value)

    @field_validator("serverless_prices", mode="before")
    @classmethod
    def _read_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("spark_jobs")
    @classmethod
    def _known_placeholder(cls, value: str) -> str:
        if set("{}") & set(value.replace(COMMIT, "")):
            raise ValueError(f"{COMMIT} is the only placeholder allowed")
        return value

    @field_validator("emr_release", "serverless_release")
    @classmethod
    def _known_release(cls, value: str) -> str:
        # The programs need Spark 4 (ANSI, TIMESTAMP_NTZ); emr-7.x runs Spark 3.5.
        if not re.fullmatch(r"emr-spark-\d+\.\d+\.\d+", value):
            raise ValueError("the Spark programs need Spark 4, which the releases emr-spark-8.0.0 and later run")
        return value

    @field_validator("serverless_driver", "serverless_executor")
    @classmethod
    def _offered_size(cls, value: str) -> str:
        vcpu, gb = worker_size(value)
        if vcpu not in WORKER_MEMORY:
            raise ValueError(f"workers have {', '.join(map(str, WORKER_MEMORY))} vCPU, not {vcpu}")
        if gb not in WORKER_MEMORY[vcpu]:
            sizes = ", ".join(map(str, WORKER_MEMORY[vcpu]))
            raise ValueError(f"a worker of {vcpu} vCPU has one of {sizes} GB of memory, not {gb}")
        return value

    @model_validator(mode="after")
    def _room_for_workers(self) -> "Settings":
        (vcpu, gb), (more_vcpu, more_gb) = worker_size(self.serverless_driver), worker_size(self.serverless_executor)
        ready = self.serverless_executors if self.serverless_preinitialised else 1
        for unit, limit, needed in (
            ("vcpu", self.serverless_max_vcpu, vcpu + ready * more_vcpu),
            ("gb", self.serverless_max_gb, gb + ready * more_gb),
            ("disk_gb", self.serverless_max_disk_gb, 20 * (1 + ready)),
        ):
            if limit < needed:
                raise ValueError(
                    f"TAXIWAY_SERVERLESS_MAX_{unit.upper()} is {limit}, below the {needed} of a driver and "
                    f"{ready} executor{'s' * (ready != 1)}: raise it, or choose smaller or fewer workers"
                )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if "TAXIWAY_NOTIFIER" in os.environ:
            log.warning("TAXIWAY_NOTIFIER is not read any more: warnings go to Slack, see TAXIWAY_SLACK_CONN_ID.")
        wanted = self.emr_on_demand_units + self.emr_spot_units
        if wanted < 1:
            raise ValueError(
                "TAXIWAY_EMR_ON_DEMAND_UNITS and TAXIWAY_EMR_SPOT_UNITS are both 0: the cluster needs a worker"
            )
        if wanted > self.emr_max_units:
            raise ValueError(
                f"TAXIWAY_EMR_MAX_UNITS is {self.emr_max_units}, below the {wanted} units that the cluster starts with"
            )
        return self


@cache
def settings() -> Settings:
    """Return the settings, cached for the process.

    Raises:
        SettingsError: as :meth:`TypedSettings.read`.
    """
    return Settings.read()

"""The demo of the arrival model: trains it on a list of months, by default six sampled ones, and streams a minute."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console.airflow import Airflow
from console.follow import Goal, Plan, Run
from console.output import Reporter
from console.platform import LocalPlatform, Platform
from demos.datasets import ANALYSIS, COLLECTION, DatasetDemo, DatasetList, planned_months

SAMPLE = Path(__file__).parent / "sample/catalogue.csv"
TRAINING = "eta_model_training"
STREAM = "eta_stream"


class EtaDemo(DatasetDemo):
    """Months that are not published yet are collected and analysed; then a model is trained on the months of the list.

    The newest month is the test month.
    """

    name = "eta"
    title = "when the taxi will be there: a model trained, gated and promoted, and a minute of requests streamed"
    sample = SAMPLE
    dags = (COLLECTION, ANALYSIS, TRAINING)
    settings = {  # noqa: RUF012 - read only
        # The months to learn from are named by the person (catalogue), and a publication of HVFHV's demo is not waited
        # for by anybody.
        "TAXIWAY_ETA_SCHEDULED": "False",
        # Training needs Spark ML, which Sail has not. AWS ignores the tag.
        "TAXIWAY_ETA_TAGS": "local-aws:engine=spark",
        "TAXIWAY_SERVERLESS_ROLE": "arn:aws:iam::123456789012:role/local",
    }
    reports = "models/eta"
    stream_s = 60
    pod = "eta-scorer"
    feature = "eta"

    def plan(self, data: DatasetList, began: datetime) -> Plan:
        """Collect what is not there yet; the training waits until the months are published."""
        stamp = f"{began:%Y%m%dT%H%M%S}"
        newest = data.months[-1]
        training = Run(
            TRAINING, f"demo__{newest}__{stamp}", {"month": newest, "months": data.months}, newest, waits=True
        )

        def card(airflow: Airflow) -> list[str]:
            return [f"{airflow.xcom(TRAINING, training.run_id, 'plan')['version']}/card.html"]

        return Plan(
            runs=[
                *(Run(COLLECTION, f"demo__{month}__{stamp}", {"month": month}, month) for month in data.months),
                training,
            ],
            followers={ANALYSIS: planned_months},
            goals=frozenset({Goal(TRAINING, "gate", newest)}),
            reports=card,
        )

    def initial_input(self, platform: LocalPlatform) -> DatasetList | None:
        """Return nothing: HVFHV's sample is there, and ``make demo`` brings the other months."""
        return None

    def in_pod(self, platform: Platform, data: DatasetList) -> list[list[str]]:
        """Have the stream started, play a minute of the newest month, and show what stream and scorer answered."""
        platform.airflow.unpause(STREAM)
        platform.airflow.trigger(STREAM, f"demo__{datetime.now(UTC):%Y%m%dT%H%M%S}", {})
        kafka = ["--bootstrap", "kafka:9092"]
        rides = ["--month", data.months[-1], "--first-answer", "--rate", "50", "--seconds", str(self.stream_s)]
        return [
            ["python", "-m", "services.replay", *kafka, *rides],
            ["python", "-m", "services.eta.watch", *kafka, "--all", "--seconds", "10"],
        ]

    def show_summary(self, report: Reporter, lake: Any, data: DatasetList, since: datetime) -> None:
        """Print what the candidates reached, what the gate decided, which version is live, and what it would cost."""
        from demos.eta.summary import show_summary

        show_summary(report.console, lake, since, report.seconds)


DEMO = EtaDemo()

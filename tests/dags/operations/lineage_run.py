"""Runs DAGs in a process of its own, in which Airflow tells lineage from the beginning; prints its events as JSON.

Airflow decides once a process, when its plugins are loaded, whether lineage is told: other tests must not see that.

    python -m tests.dags.operations.lineage_run FOLDER
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import airflow_home

ROOT = Path(__file__).parents[3]
FILE = ROOT / "demos/hvfhv/sample/fhvhv_tripdata_sample_2023-01.parquet"
EVENTS = ROOT / "demos/api_logs/sample/wikiticker-2015-09-12-sampled.json.gz"
REFERENCE = ROOT / "demos/warehouse/sample"
DBT = ROOT / ".local/venvs/warehouse/bin/dbt"


def main(folder: Path) -> None:
    """Collect and analyse a month, load the warehouse, sum it up and serve a table of it; convert hours of API logs."""
    airflow_home.set_up()
    service = folder / "ride_service.sqlite"
    os.environ |= {
        "AIRFLOW_CONN_RIDE_SERVICE": json.dumps({"conn_type": "sqlite", "host": str(service)}),
        "TAXIWAY_DBT": str(DBT),
        "TAXIWAY_WAREHOUSE_NAMES": (REFERENCE / "name_gender.csv").as_uri(),
        "TAXIWAY_WAREHOUSE_ZONES": (REFERENCE / "taxi_zone_lookup.csv").as_uri(),
        "TAXIWAY_WAREHOUSE_BASES": (REFERENCE / "fhv_bases.csv").as_uri(),
    }
    from taxiway.operations import lineage

    os.environ |= lineage.VARIABLES
    import boto3
    from airflow.utils.db import initdb

    from services.log_generator import MasterKeys, deliver, open_events, target_of
    from spark_jobs import publish
    from taxiway import catalogue
    from taxiway.api_logs import __main__ as api_logs
    from taxiway.api_logs.settings import api_logs_settings
    from taxiway.core.settings import settings
    from taxiway.hvfhv.settings import hvfhv_settings
    from tests.dags.runs import prepared_aws, run_once

    initdb()
    with prepared_aws(
        folder,
        hvfhv_settings,
        TAXIWAY_SPARK_JOBS="s3://taxiway-artifacts/test",
        TAXIWAY_API_LOGS_RECHECK_HOURS="0",
        TAXIWAY_SERVERLESS_ROLE="arn:aws:iam::123456789012:role/jobs",
        TAXIWAY_ETA_BOOTSTRAP="kafka.example:9092",
    ):
        publish.publish("s3://taxiway-artifacts", "test")
        engine = catalogue.open_engine(os.environ["AIRFLOW_CONN_TLC_CATALOG"])
        catalogue.migrate(engine)
        with engine.begin() as connection:
            values = {"name": FILE.stem, "month": "2023-01", "url": FILE.as_uri()}
            connection.execute(catalogue.datasets.insert().values(**values))
        create = ["services.ride_ratings", "create", "--url", f"sqlite:///{service}", "--rows", "2000"]
        subprocess.run([sys.executable, "-m", *create], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        api_logs.main(["set-up"])
        session = boto3.Session()
        target = target_of("s3://taxiway-lake/raw/api_logs", session)
        delivered = deliver(open_events(EVENTS), target, MasterKeys(session, api_logs_settings().key_prefix))
        runs: dict[str, dict[str, Any]] = {
            "hvfhv_collection": {"month": "2023-01"},
            "hvfhv_analysis": {"months": ["2023-01"]},
            "warehouse_loads": {},
            "warehouse_summaries": {},
            "warehouse_serving": {},
            "api_logs_etl": {"hours": sorted(delivered.records)[:2]},
            "eta_stream": {},
        }
        states = {dag_id: run_once(dag_id, conf) for dag_id, conf in runs.items()}
        serverless = session.client("emr-serverless")
        (application,) = serverless.list_applications()["applications"]
        (stream,) = serverless.list_job_runs(applicationId=application["id"])["jobRuns"]
        asked = serverless.get_job_run(applicationId=application["id"], jobRunId=stream["id"])["jobRun"]["jobDriver"]
        events = list(lineage.events(boto3.client("s3"), settings().lake))
    (folder / "result.json").write_text(json.dumps({"states": states, "events": events, "stream": asked}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

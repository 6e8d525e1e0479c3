"""An Airflow of the tests' own: Airflow reads where it lives when it is first imported, by whatever test that is."""

import os
import tempfile
from pathlib import Path

_home = tempfile.TemporaryDirectory(prefix="taxiway-airflow-")


def set_up() -> None:
    """Point Airflow of this process to an empty home and to this repository's DAGs."""
    os.environ |= {
        "AIRFLOW_HOME": _home.name,
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[1] / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home.name}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW_CONN_TLC_CATALOG": f"sqlite:///{_home.name}/catalogue.db",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }

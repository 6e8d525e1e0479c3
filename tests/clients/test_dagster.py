"""dagster-aws."""

from tests.clients.conftest import PROGRAMS, Client


def test_assets(clients: Client) -> None:
    """`PipesEMRClient` and `PipesEMRServerlessClient` with messages on S3: assets of PySpark programs; \
`EmrJobRunner`: a cluster, a step, its logs"""
    found = clients.program("dagster_assets", "dagster", PROGRAMS / "pipes_job.py")
    assert found == {"by_emr": 7, "by_emr_serverless": 5, "stdout": "hello\n"}

"""What the warehouse may do on AWS: dbt's workgroup, its own database, and the tables that it replaces."""

import pytest

from tests.aws.iam import allowed
from tests.aws.template import ACCOUNT, REGION, Stack
from tests.aws.test_permissions import DBT

STACK = Stack()
GLUE, ATHENA = f"arn:aws:glue:{REGION}:{ACCOUNT}:", f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/"


@pytest.mark.parametrize("action", sorted(DBT))
def test_tasks_may_do_what_dbt_does_and_nobody_elses_tables(action: str) -> None:
    policies = STACK.policies("WorkerRole")
    own = [f"{ATHENA}taxiway-warehouse"]
    others = [f"{ATHENA}primary"]
    if action.startswith("glue:"):
        own = [f"{GLUE}{path}" for path in ("catalog", "database/taxiway_dbt", "table/taxiway_dbt/stg_zones")]
        others = [f"{GLUE}{path}" for path in ("database/payroll", "table/payroll/salaries", "table/taxiway_dbt2/x")]
    for resource in own:
        assert allowed(policies, action, resource), resource
    for resource in others:
        assert not allowed(policies, action, resource), resource
    for role in ("TriggererRole", "DagProcessorRole", "ApiServerRole"):
        assert not any(allowed(STACK.policies(role), action, resource) for resource in own)


@pytest.mark.parametrize("action", ["DeleteTable", "DeleteTableVersion", "GetTableVersions"])
def test_tasks_replace_the_marts(action: str) -> None:
    for path in ("catalog", "database/taxiway", "table/taxiway/zone_month"):
        assert allowed(STACK.policies("WorkerRole"), f"glue:{action}", f"{GLUE}{path}")


def test_the_workgroup_ends_queries_that_read_too_much_and_lets_dbt_choose_where_tables_are() -> None:
    workgroup = STACK.properties("WarehouseWorkgroup")
    assert workgroup["Name"] == "taxiway-warehouse"
    assert workgroup["WorkGroupConfiguration"]["BytesScannedCutoffPerQuery"] == 100 * 10**9
    assert workgroup["WorkGroupConfiguration"]["EnforceWorkGroupConfiguration"] is False
    assert STACK.outputs()["WarehouseWorkgroup"] == workgroup["Name"]
    assert STACK.outputs()["WarehouseResults"] == "s3://acme-taxi-lake/athena/dbt"
    assert allowed(STACK.policies("WorkerRole"), "s3:PutObject", "arn:aws:s3:::acme-taxi-lake/athena/dbt/query.csv")

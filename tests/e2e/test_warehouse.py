"""The warehouse on the cluster: from the service's MySQL to its summary there."""

import pytest

from tests.e2e.conftest import Platform

pytestmark = pytest.mark.full  # five to ten minutes; its loads, dbt and databases are tested without a cluster too


def test_the_demo_serves_a_summary_from_mysql(platform: Platform) -> None:
    result = platform.type("kind-demo", PIPELINE="warehouse")
    assert result.returncode == 0, result.stdout
    client = 'MYSQL_PWD="$MYSQL_PASSWORD" $(command -v mysql || command -v mariadb) -u "$MYSQL_USER" -N -e "$0" rides'
    query = "SELECT count(*), count(DISTINCT zone_id), sum(ratings) FROM zone_summary"
    zones, distinct, ratings = platform.kubectl.execute("ride-service-0", "sh", "-c", client, query).stdout.split()
    assert int(zones) == int(distinct) > 200
    assert int(ratings) > 0

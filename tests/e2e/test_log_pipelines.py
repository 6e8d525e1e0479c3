"""The log pipelines on the cluster: the same tables as on a laptop."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Platform
from tests.e2e.tables import copy_published
from tests.oracle.log_pipelines import require_access_logs, require_api_events


@pytest.mark.parametrize(
    ("pipeline", "require"), [("access_logs", require_access_logs), ("api_logs", require_api_events)]
)
def test_the_demo_publishes_what_it_does_on_a_laptop(
    platform: Platform, tmp_path: Path, pipeline: str, require: Callable[[Path], None]
) -> None:
    result = platform.type("kind-demo", PIPELINE=pipeline)
    assert result.returncode == 0, result.stdout
    copy_published(platform, pipeline, tmp_path)
    require(tmp_path)

"""What is said of programs that this machine does not have."""

from pathlib import Path

import pytest

from local_aws.emr.commands import launch
from local_aws.engines import engine
from local_aws.execution import LaunchError


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sudo", "there is no sudo on this machine; steps run as the user of the endpoint"),
        ("hadoop", "hadoop needs Hadoop, which is not available here"),
        ("/usr/bin/hdfs", "hdfs needs Hadoop, which is not available here"),
        ("hadoop-streaming", "hadoop-streaming needs Hadoop"),
        ("hive-script", "hive-script needs Hadoop"),
        ("spark-sql", "spark-sql is not available here; use spark-submit."),
        ("no-such-program", "there is no program 'no-such-program' on this machine."),
    ],
)
def test_a_program_that_is_missing(tmp_path: Path, command: str, message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        launch("command-runner.jar", [command, "x"], engine("sail"), tmp_path, {"PATH": str(tmp_path)})

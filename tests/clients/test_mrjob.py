"""mrjob."""

from pathlib import Path

from tests.clients.conftest import PROGRAMS, Client
from tests.local_aws.endpoint import Endpoint

_SETTINGS = """
runners:
  emr:
    region: us-east-1
    cloud_tmp_dir: s3://mrjob/tmp/
    cloud_log_dir: s3://mrjob/logs/
    check_cluster_every: 1
    cloud_fs_sync_secs: 0
"""


def test_a_job(clients: Client, endpoint: Endpoint, tmp_path: Path) -> None:
    """`-r emr`: a job with a `spark` method, its roles, cluster, step, output and clean-up"""
    endpoint.client("s3").create_bucket(Bucket="mrjob")
    (tmp_path / "mrjob.conf").write_text(_SETTINGS)
    (tmp_path / "words.txt").write_text("a b a\n")
    words = ("python", PROGRAMS / "words.py", "-r", "emr", "-c", tmp_path / "mrjob.conf", tmp_path / "words.txt")
    assert sorted(clients.run(*words).splitlines()) == ["a 2", "b 1"]
    assert "Contents" not in endpoint.client("s3").list_objects_v2(Bucket="mrjob", Prefix="tmp/")

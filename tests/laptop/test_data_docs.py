"""``make data-docs``: the page on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from console.errors import UserError
from laptop import data_docs
from laptop.config import Config
from taxiway.core import contracts
from tests.aws_in_memory import aws_in_memory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.from_environment({"STATE": str(tmp_path), "UI_PORT": "6480", "AWS_PORT": "6481"})


@pytest.fixture
def lake() -> Iterator[None]:
    with aws_in_memory():
        boto3.client("s3").create_bucket(Bucket="taxiway-lake")
        yield


@pytest.mark.usefixtures("lake")
def test_the_page_is_written_even_before_anything_is_published(config: Config) -> None:
    said: list[str] = []
    path = data_docs.write(config, said.append)
    assert path == config.state / "reports/data-docs/index.html"
    known = sum(len(contracts.names(pipeline)) for pipeline in contracts.pipelines())
    assert said[-1].startswith(f"{known} tables, 0 links of lineage, in ")
    page = path.read_text(encoding="utf-8")
    assert page.count("<section") == known + 1
    assert "No run has told its lineage yet" in page
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.usefixtures("lake")
def test_a_folder_that_cannot_be_written_is_one_sentence(config: Config) -> None:
    (config.state / "reports").write_text("in the way")
    with pytest.raises(UserError, match=r"index\.html cannot be written \(.*\): name another place with STATE="):
        data_docs.write(config, lambda _: None)


def test_without_a_lake_the_command_says_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {"STATE": str(tmp_path), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}"}
    command = [sys.executable, "-m", "laptop", "data-docs"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (1, "There is no lake yet: run make demo first.\n")

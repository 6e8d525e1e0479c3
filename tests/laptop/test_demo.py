"""How the demo words what it sees; the whole of it runs in test_platform.py."""

import json

import pytest

from laptop.config import Config
from laptop.demo import _log, _why
from laptop.platform import Platform

TASK = {"dag_id": "hvfhv_analysis", "dag_run_id": "run 1", "task_id": "analyse.curate", "map_index": 2, "try_number": 3}


@pytest.fixture
def platform(tmp_path):
    return Platform(Config.from_environment({"STATE": str(tmp_path)}))


def write_log(platform, exception):
    log = _log(platform, TASK)
    log.parent.mkdir(parents=True)
    entries = [{"event": "started"}, {"event": "Task failed", "error_detail": [{"exc_value": exception}]}]
    log.write_text("not JSON\n" + "\n".join(map(json.dumps, entries)) + "\n")


def test_a_steps_own_sentence_is_dug_out_of_the_providers_text(platform):
    failure = {"Reason": "Exit status 1.", "Message": 'It isn\'t a "Parquet" file.', "LogFile": "s3://l/stderr.gz"}
    write_log(
        platform, f"Error while running steps: {{'status': 'error', 'message': 'FAILED - [{failure!r}]\\nWaiter'}}"
    )
    assert _why(platform, TASK) == 'It isn\'t a "Parquet" file.'


def test_other_exceptions_are_shown_by_their_first_line(platform):
    write_log(platform, "The server answered 404: check the URL.\nmore")
    assert _why(platform, TASK) == "The server answered 404: check the URL."


def test_a_task_without_a_log_is_told_too(platform):
    assert "without a word" in _why(platform, TASK)

"""How commands print and end."""

import os
import signal

import pytest
import requests
from boto3.exceptions import RetriesExceededError
from botocore.exceptions import ClientError, EndpointConnectionError
from rich.console import Console

from console.errors import UserError
from console.output import Reporter, run_command


def test_lines_have_the_time_and_text_is_never_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    report = Reporter(Console(width=40, color_system=None))
    report("[a]/b[/a] is a file whose name is longer than the line", "[red]✗[/red] ")
    line = capsys.readouterr().out
    assert line.endswith(" s  ✗ [a]/b[/a] is a file whose name is longer than the line\n")
    assert float(line.split()[0]) < 5


def test_an_error_for_people_is_its_sentence_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    def command(console: Console) -> int:
        raise UserError("The [port] is taken.")

    assert run_command(command, "") == 1
    assert capsys.readouterr().err == "The [port] is taken.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_order(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def command(console: Console) -> int:
        os.kill(os.getpid(), number)
        return 0

    assert run_command(command, "Interrupted.") == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout("Read timed out."),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:4566"),
        ClientError({"Error": {"Code": "500", "Message": "no"}}, "ListBuckets"),
        RetriesExceededError(OSError("cut")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_request_that_failed_for_good_is_one_sentence(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def command(console: Console) -> int:
        raise error

    assert run_command(command, "") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("A request failed (")
    assert str(error) in line


def test_a_fault_of_our_own_keeps_its_traceback() -> None:
    def command(console: Console) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(command, "")

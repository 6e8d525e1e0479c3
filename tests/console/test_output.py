"""How commands print and end."""

import os
import signal

import pytest
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
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}

    def command(console: Console) -> int:
        os.kill(os.getpid(), number)
        return 0

    try:
        assert run_command(command, "Interrupted.") == 130
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert capsys.readouterr().err == "Interrupted.\n"

"""What each command of ``python -m laptop`` does with the platform."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from console import demo as demos
from console.errors import UserError
from console.options import ENGINES, ROOT
from console.output import Reporter
from console.patience import PATIENCE_S
from console.ports import require_free
from console.processes import start_program
from laptop.config import Config
from laptop.platform import Platform
from laptop.results import copy_results, open_lake


def demo(config: Config, console: Console) -> None:
    """Run the demo that PIPELINE names, or one after the other, and show the results.

    The platform is the one that runs, or else one of the command's own.

    Raises:
        UserError: it could not be done; the text says why.
    """
    report, since = Reporter(console), datetime.now(UTC)
    chosen = demos.choose(os.environ)
    inputs = [each.read_input(demos.given_input(each, os.environ), str) for each in chosen]
    platform = Platform(config, report)
    if not platform.running:
        report.plain(f"Starting Airflow and local AWS; Spark programs will run on {ENGINES[config.engine]} …")
    with platform.held_up() as ran_before:
        ignored = demos.prepare(platform, chosen, report, fresh=not ran_before)
        report.plain(f"Airflow is ready at {config.ui_url} after {report.seconds:.0f} s.\n")
        for each, data in zip(chosen, inputs, strict=True):
            if len(chosen) > 1:
                since = datetime.now(UTC)
                report.plain(f"{each.name}: {each.title}")
            plan = demos.run(platform, each, data, report, since=since, ignored=ignored)
            report.plain()
            each.show_summary(report, open_lake(each), data, since)
            folder = config.state / "reports" / each.name
            demos.show_reports(demos.copy_reports(platform, each, plan, folder, report), report)
            if each.stream_s:
                from laptop.stream import run_stream

                report.plain(f"\n{run_stream(config, report, seconds=each.stream_s)}")
            report.plain()
        report.plain("Tables: make results DEST=folder copies them out as Parquet files.")
        if ran_before:
            _show_addresses(platform, report)
        else:
            report.plain(f"Airflow ends now; make up opens it again with these runs, at {config.ui_url}")


def up(config: Config, console: Console) -> None:
    """Start the platform with the inputs that are given, else each pipeline's sample where it is new; leave it running.

    Raises:
        UserError: it could not be started.
    """
    report, chosen = Reporter(console), demos.choose(os.environ, default=demos.ALL)
    given = {each.name: demos.given_input(each, os.environ) for each in chosen}
    inputs = {each.name: each.read_input(given[each.name], str) for each in chosen if given[each.name]}
    platform = Platform(config, report)
    ran_before = platform.running
    if ran_before:
        platform.attach()
        report.plain("It runs already.")
    else:
        report.plain("Starting Airflow and local AWS …")
        platform.start()
    try:
        demos.prepare(platform, chosen, report)
        for each in chosen:
            if data := inputs.get(each.name) or each.initial_input(platform):
                report.plain(each.load(platform, data))
    except KeyboardInterrupt:
        if not ran_before:
            platform.supervisor.stop()
        raise
    finally:  # also where a DAG is faulty: its author looks at it there
        if not ran_before:
            platform.supervisor.keep()
    _show_addresses(platform, report)
    report.plain("Run a pipeline: trigger its first DAG there, or make demo; make down ends everything.")


def status(config: Config, console: Console) -> int:
    """Say whether the platform runs, and where; return 0 if it does and 3 if not, as service managers do."""
    platform, report = Platform(config), Reporter(console)
    if not platform.running:
        reason = platform.supervisor.end_reason()
        report.plain(
            f"Not running: {reason}\nmake up starts it again." if reason else "Not running: make up starts it."
        )
        return 3
    report.plain(f"Running, with Spark programs on {ENGINES[platform.supervisor.engine() or 'sail']}.")
    _show_addresses(platform, report)
    return 0


def results(config: Config, folder: Path, console: Console) -> None:
    """Copy what is published to a folder: all pipelines, or the one that PIPELINE names.

    Raises:
        UserError: nothing is published, or the folder cannot be written.
    """
    report, chosen = Reporter(console), demos.choose(os.environ, default=demos.ALL)
    with _local_aws(config):
        copied = copy_results(chosen, folder)
    for path, count in copied.items():
        report.plain(f"  {folder / path}  {count}")


def query(config: Config, console: Console) -> None:
    """Ask the lake what SQL says, in the SQL of Athena, and print the answer.

    Raises:
        UserError: there is no lake, or Athena refuses the statement.
    """
    from laptop.query import Query, ask  # PyAthena takes a second

    asked = Query.from_environment(os.environ)
    with _local_aws(config):
        ask(asked, Reporter(console))


def build_summaries(config: Config, words: str, console: Console) -> int:
    """Copy the published tables of a lake whose platform does not run, and have dbt do what ``words`` say.

    Returns:
        dbt's exit status.

    Raises:
        UserError: there is no lake, or nothing is published.
    """
    from laptop import dbt

    with _local_aws(config):
        return dbt.run(config, words, Reporter(console))


def data_docs(config: Config, console: Console) -> None:
    """Write the page on all tables, and say where it is.

    Raises:
        UserError: there is no lake, or the page cannot be written.
    """
    from laptop.data_docs import write

    report = Reporter(console)
    with _local_aws(config):
        path = write(config, report.plain)
    demos.show_reports([path], report)


def stream(config: Config, console: Console) -> None:
    """Keep the arrival model's stream running until Ctrl-C, with a live table and a page.

    Raises:
        UserError: there is no live model, a port is taken, or one of its parts has ended.
    """
    from laptop.stream import Options, run_stream

    options, report = Options.from_environment(os.environ), Reporter(console)
    for port, variable, user in (
        (options.kafka_port, "KAFKA_PORT", "Kafka"),
        (options.page_port, "PAGE_PORT", "the live page"),
    ):
        require_free(port, variable, user)
    with _local_aws(config):
        report.plain(str(run_stream(config, report, options=options)))


def _show_addresses(platform: Platform, report: Reporter) -> None:
    config = platform.config
    user, password = platform.access.credentials()
    report.plain(
        f"Airflow: {config.ui_url}  user {user}, password {password}\n"
        f"AWS:     {config.aws_url}  (AWS_ENDPOINT_URL; any keys; region us-east-1)\n"
        f"Logs:    {config.logs}"
    )


@contextmanager
def _local_aws(config: Config) -> Iterator[None]:
    """Reach the lake: that of the running platform, or else the local AWS endpoint alone for this block."""
    config.apply_aws_environment()
    if Platform(config).running:
        yield
        return
    if not (config.state / "aws").exists():
        raise UserError("There is no lake yet: run make demo first.")
    require_free(config.aws_port, "AWS_PORT", "the local AWS endpoint")
    command = [str(config.python("local-aws")), "-m", "local_aws", "--port", str(config.aws_port)]
    config.logs.mkdir(parents=True, exist_ok=True)
    with (config.logs / "local-aws.log").open("wb") as log:
        endpoint = start_program(
            [*command, "--data", str(config.state / "aws")], stdout=log, stderr=log, cwd=ROOT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not config.aws_is_healthy():
            if endpoint.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"The local AWS endpoint did not start; see {config.logs / 'local-aws.log'}.")
            time.sleep(0.1)
        yield
    finally:
        endpoint.terminate()
        try:
            endpoint.wait(timeout=15)
        except subprocess.TimeoutExpired:
            endpoint.kill()

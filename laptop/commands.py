"""What each command of ``python -m laptop`` does with the platform."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import boto3
from rich.console import Console

from laptop.config import ROOT, Config, LaptopError
from laptop.demo import run_months
from laptop.platform import Platform, check_list
from laptop.processes import require_free
from laptop.results import copy_reports, copy_results
from laptop.summary import show_summary
from taxiway.catalogue import latest_attempts
from taxiway.lake import Lake
from taxiway.settings import read_settings

SAMPLE = ROOT / "laptop/sample/catalogue.csv"
ENGINE_NAMES = {"sail": "Sail", "spark": "Apache Spark"}


def demo(config: Config, file: Path | None, console: Console) -> None:
    """Run the main job for the months of a list, on the running platform or on one of its own, and show the result.

    Args:
        config: of the platform.
        file: list of data sets; by default the sample months.
        console: to write to.

    Raises:
        LaptopError: it could not be done; the text says why.
    """
    file = file or SAMPLE
    check_list(file)
    platform = Platform(config)
    began, since = time.monotonic(), datetime.now(UTC)
    if not platform.running:
        console.print(f"Starting Airflow and local AWS; Spark programs will run on {ENGINE_NAMES[config.engine]} …")
    with platform.held_up() as ran_before:
        console.print(f"Airflow is ready at {config.ui_url} after {time.monotonic() - began:.0f} s.\n", highlight=False)
        lake = Lake(read_settings(), boto3.Session())
        months = run_months(platform, lake, file, console, since=since, fresh=not ran_before)
        console.print()
        show_summary(console, lake, months, since, time.monotonic() - began)
        reports = copy_reports(lake, config.state / "reports", months)
        console.print("\nReports (open them in a browser):", *(f"  {report}" for report in reports), sep="\n")
        console.print("Tables: make results DEST=folder copies them out as Parquet files.")
        if ran_before:
            _say_where(platform, console)
        else:
            console.print("Airflow ends now; make up opens it again with these runs, at", config.ui_url)


def up(config: Config, file: Path | None, console: Console) -> None:
    """Start the platform and leave it running.

    Args:
        config: of the platform.
        file: list of data sets to take over; by default the sample months, where the catalogue has none yet.
        console: to write to.

    Raises:
        LaptopError: it could not be started.
    """
    if file:
        check_list(file)
    platform = Platform(config)
    if platform.running:
        platform.attach()
        console.print("It runs already.")
    else:
        console.print("Starting Airflow and local AWS …")
        platform.start(with_parent=False)
    if file or not latest_attempts(platform.catalogue()):
        platform.load_catalogue(file or SAMPLE)
    _say_where(platform, console)
    console.print("Collect a month: trigger the DAG hvfhv_collection there with its month; make down ends everything.")


def status(config: Config, console: Console) -> int:
    """Say whether the platform runs, and where; return 0 if it does and 3 if not, as service managers do."""
    platform = Platform(config)
    if not platform.running:
        console.print("Not running: make up starts it.")
        return 3
    console.print(f"Running, with Spark programs on {ENGINE_NAMES[platform.supervisor.engine() or 'sail']}.")
    _say_where(platform, console)
    return 0


def results(config: Config, folder: Path, console: Console) -> None:
    """Copy what is published to a folder.

    Raises:
        LaptopError: nothing is published, or the folder cannot be written.
    """
    with _local_aws(config):
        copied = copy_results(Lake(read_settings(), boto3.Session()), folder)
    for path, months in copied.items():
        console.print(f"  {folder / path}  {months} month{'s' * (months != 1)}", highlight=False)


def _say_where(platform: Platform, console: Console) -> None:
    config = platform.config
    console.print(
        f"Airflow: {config.ui_url}  user admin, password {platform.airflow.password()}\n"
        f"AWS:     {config.aws_url}  (AWS_ENDPOINT_URL; any keys; region us-east-1)\n"
        f"Logs:    {config.logs}",
        highlight=False,
    )


@contextmanager
def _local_aws(config: Config) -> Iterator[None]:
    """Have the lake at hand: that of the running platform, or the local AWS endpoint alone for a moment."""
    config.apply_aws_environment()
    if Platform(config).running:
        yield
        return
    if not (config.state / "aws").exists():
        raise LaptopError("There is no lake yet: run make demo first.")
    require_free(config.aws_port, "AWS_PORT", "the local AWS endpoint")
    command = [str(config.python("local-aws")), "-m", "local_aws", "--port", str(config.aws_port)]
    config.logs.mkdir(parents=True, exist_ok=True)
    with (config.logs / "local-aws.log").open("wb") as log:
        endpoint = subprocess.Popen(
            [*command, "--data", str(config.state / "aws")], stdout=log, stderr=log, cwd=ROOT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while not config.aws_is_healthy():
            if endpoint.poll() is not None or time.monotonic() > deadline:
                raise LaptopError(f"The local AWS endpoint did not start; see {config.logs / 'local-aws.log'}.")
            time.sleep(0.1)
        yield
    finally:
        endpoint.terminate()
        endpoint.wait(timeout=15)

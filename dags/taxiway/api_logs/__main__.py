"""The command line of the API logs, where Airflow's connections are known.

    python -m taxiway.api_logs replay --key KEY_ID   take again the hours with records that waited for a key
    python -m taxiway.api_logs replay --hour 2026-01-31-07 [--hour …/…]
    python -m taxiway.api_logs set-up                on a laptop or kind: make the workgroup and the pseudonyms' key

``replay`` starts a run of ``api_logs_etl``, for which it needs Airflow's database. On Kubernetes run it in a worker's
pod, which alone has the DAGs, that database and the role on AWS, with ``PYTHONPATH=/opt/airflow/dags/repo/dags``.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from taxiway.api_logs import hours
from taxiway.api_logs.settings import api_logs_settings
from taxiway.core.settings import SettingsError, settings

DAG = "api_logs_etl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.api_logs", description="The API logs.")
    commands = parser.add_subparsers(dest="command", required=True)
    replay = commands.add_parser("replay", help="take arrival hours again")
    replay.add_argument("--key", help="those with records that were quarantined for want of this key")
    replay.add_argument("--hour", action="append", default=[], help="an hour, or a range FIRST/LAST; may be repeated")
    commands.add_parser("set-up", help="make the workgroup and the key of the pseudonyms where they are missing")
    options = parser.parse_args(arguments)
    try:
        if options.command == "set-up":
            sys.stdout.write(_set_up())
            return 0
        if not (options.key or options.hour):
            parser.error("replay needs --key or --hour")
        sys.stdout.write(_replay(options.key, options.hour))
    except (SettingsError, ReplayError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


class ReplayError(RuntimeError):
    """Nothing can be replayed; the text is one sentence."""


def _replay(key: str | None, given: Sequence[str]) -> str:
    from airflow.api.client import get_current_api_client
    from airflow.sdk.exceptions import AirflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        hours.expand(given)
    except ValueError as error:
        raise ReplayError(str(error)) from None
    run_id = f"replay__{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    conf = {"hours": list(given), "key": key, "again": True}
    try:
        get_current_api_client().trigger_dag(dag_id=DAG, run_id=run_id, conf=conf)
    except AirflowException as error:  # such as a DAG that is not listed
        raise ReplayError(f"The run could not be started: {str(error).rstrip('.')}.") from None
    except SQLAlchemyError as error:
        raise ReplayError(
            f"Airflow's database cannot be used ({type(error).__name__}): on Kubernetes run this in a worker's pod."
        ) from None
    what = f"that wait for the key {key}" if key else ", ".join(given)
    return f"Started the run {run_id} of {DAG}; it takes the hours {what}.\n"


def _set_up() -> str:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    from taxiway.api_logs import keys
    from taxiway.api_logs.athena import workgroup

    shared, own = settings(), api_logs_settings()
    made = []
    if workgroup().create(f"{shared.lake}/athena/{own.workgroup}", own.scan_limit_mb * 1_000_000):
        made.append(f"the workgroup {own.workgroup}")
    secrets: Any = AwsGenericHook(aws_conn_id=shared.aws_conn_id).get_session().client("secretsmanager")
    try:
        secrets.create_secret(Name=own.pseudonym_key, SecretString=keys.as_secret(keys.new_key()))
        made.append("the key of the pseudonyms")
    except secrets.exceptions.ResourceExistsException:
        pass  # and it stays: another one would make other pseudonyms
    return f"Made {' and '.join(made)}.\n" if made else "Nothing to make: all is there.\n"


if __name__ == "__main__":
    sys.exit(main())

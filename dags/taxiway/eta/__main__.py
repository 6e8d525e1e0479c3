"""The command line of the arrival model's registry, where Airflow's connection to AWS is known.

    python -m taxiway.eta models             its versions with their errors, and which one is live
    python -m taxiway.eta promote VERSION    make a version live, whatever the gate says of it
    python -m taxiway.eta roll-back          make the version live that was live before

Streams and scorers take the change up within half a minute.
"""

import argparse
import getpass
import sys
from collections.abc import Sequence
from typing import Any

from taxiway.core.settings import SettingsError, settings
from taxiway.eta.gate import GateError, judge
from taxiway.eta.registry import Live, Registry, RegistryError
from taxiway.eta.settings import eta_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.eta", description="Versions of the arrival model.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("models", help="list the versions, their errors, and which is live")
    promotion = commands.add_parser("promote", help="make a version live")
    promotion.add_argument("version", metavar="VERSION")
    promotion.add_argument("--reason", default="Promoted by hand.", help="kept with the pointer, one sentence")
    commands.add_parser("roll-back", help="make the version live that was live before")
    options = parser.parse_args(arguments)
    try:
        registry = open_registry()
        if options.command == "promote":
            sys.stdout.write(_promote(registry, options.version, options.reason))
        elif options.command == "roll-back":
            live = registry.roll_back(by=getpass.getuser())
            sys.stdout.write(f"{live.version} is live again.\n")
        else:
            sys.stdout.write(_table(registry))
    except (RegistryError, GateError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def open_registry() -> Registry:
    """Return the registry, with the credentials of Airflow's AWS connection."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    session: Any = AwsGenericHook(aws_conn_id=settings().aws_conn_id).get_session()
    return Registry(session.client("s3"), settings().lake)


def _promote(registry: Registry, version: str, reason: str) -> str:
    seen = registry.live()
    metrics = registry.metrics(version)
    there = seen is not None and seen.version in registry.versions()
    decision = judge(metrics, registry.metrics(seen.version) if seen and there else None, eta_settings())
    registry.promote(version, by=getpass.getuser(), reason=reason, seen=seen)
    warning = f"The gate would not have promoted it: {'; '.join(decision.faults)}.\n" if decision.faults else ""
    return f"{version} is live.\n{warning}"


def _table(registry: Registry) -> str:
    versions, live = registry.versions(), registry.live()
    lines = [
        f"{'version':24} {'test':8} {'trained on':20} {'winner':10} {'MAE':>8} {'baseline':>9} {'gain':>6} {'p90':>6}"
    ]
    lines += [_line(registry.metrics(version), live, version) for version in reversed(versions)]
    if not versions:
        lines = [f"{registry.uri} has no version yet: run the DAG eta_model_training."]
    if live is None:
        lines.append("No version is live.")
    elif live.version not in versions:
        lines.append(f"The live version {live.version} is gone: promote another one.")
    else:
        lines.append(f"Live since {live.promoted_at}: {live.version}, by {live.by}. {live.reason}")
    return "\n".join(lines) + "\n"


def _line(metrics: dict[str, Any], live: Live | None, version: str) -> str:
    try:
        months, error, baseline = metrics["train_months"], metrics["mae_s"], metrics["baseline_mae_s"]
        trained = f"{months[0]} … {months[-1]}" if len(months) > 1 else months[0]
        figures = f"{error:>6.1f} s {baseline:>7.1f} s {1 - error / baseline:>6.1%} {metrics['p90_coverage']:>6.1%}"
        text = f"{version:24} {metrics['test_month']:8} {trained:20} {metrics.get('winner', '?'):10} {figures}"
    except (KeyError, TypeError, IndexError, ValueError, ZeroDivisionError) as fault:
        text = f"{version:24} has figures that cannot be read ({type(fault).__name__}: {fault})"
    mark = {live.version: "  live", live.previous: "  before"}.get(version, "") if live else ""
    return text + mark


if __name__ == "__main__":
    sys.exit(main())

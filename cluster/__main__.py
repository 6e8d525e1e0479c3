"""The commands behind ``make kind-up``, ``deploy``, ``diff``, ``rollback``, ``ui`` and so on."""

import argparse
import signal
import sys
from types import FrameType
from typing import NoReturn

from rich.console import Console

from cluster import commands
from cluster.config import ClusterError, Config
from laptop.config import LaptopError

COMMANDS = {
    "kind-up": commands.kind_up,
    "kind-down": commands.kind_down,
    "kind-demo": commands.kind_demo,
    "images": commands.make_images,
    "secrets": commands.make_secrets,
    "deploy": commands.deploy,
    "diff": commands.diff,
    "rollback": commands.rollback,
    "status": commands.show_status,
    "ui": commands.ui,
    "flower": commands.flower,
    "monitoring": commands.deploy_monitoring,
    "grafana": commands.grafana,
    "prometheus": commands.prometheus,
    "alertmanager": commands.alertmanager,
    "password": commands.password,
    "dags-push": commands.dags_push,
    "publish-jobs": commands.publish_jobs,
}


def main() -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    names = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        names.add_parser(name, help=(command.__doc__ or "").splitlines()[0])
    options = parser.parse_args()
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return COMMANDS[options.command](Config.from_environment(), console)
    except (ClusterError, LaptopError) as error:
        errors.print(str(error), style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        errors.print("Interrupted: nothing of this command is left running here; the cluster stays as it is.")
        return 130


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

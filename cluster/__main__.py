"""The commands behind ``make kind-up``, ``deploy``, ``diff``, ``rollback``, ``ui`` and so on."""

import argparse
import sys

from cluster import commands
from cluster.config import Config
from console.output import run_command

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
    "publish-jobs": commands.publish_programs,
}


def main() -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    names = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        names.add_parser(name, help=(command.__doc__ or "").splitlines()[0])
    options = parser.parse_args()
    return run_command(
        lambda console: COMMANDS[options.command](Config.from_environment(), console),
        "Interrupted: nothing of this command is left running here; the cluster stays as it is.",
    )


if __name__ == "__main__":
    sys.exit(main())

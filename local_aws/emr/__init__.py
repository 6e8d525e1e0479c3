"""EMR that runs the steps it is given, as processes of this machine."""

import shutil

from local_aws.emr.clusters import Clusters
from local_aws.emr.runner import StepRunner, step_environment
from local_aws.emr.service import Emr
from local_aws.emr.store import History
from local_aws.machine import REGION, Machine


def open_service(machine: Machine) -> Emr:
    """Start EMR on this machine, with the history it has."""
    folder = machine.data / "emr"
    for leftover in folder.glob("s-*/work"):
        shutil.rmtree(leftover, ignore_errors=True)
    environment = step_environment(machine.endpoint, REGION, machine.step_memory)
    runner = StepRunner(machine.engine, folder, environment, machine.step_memory, machine.grace_s)
    clusters = Clusters(History(machine.database), runner, max_steps=machine.max_steps, state_s=machine.state_s)
    clusters.start()
    return Emr(clusters, REGION)

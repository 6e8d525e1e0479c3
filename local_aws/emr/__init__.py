"""EMR on EC2: its API and its states; the steps run as processes of this machine."""

from local_aws.context import REGION, Context
from local_aws.emr.clusters import Clusters
from local_aws.emr.service import Emr
from local_aws.emr.steps import StepRunner
from local_aws.emr.store import History, SecurityConfigurations
from local_aws.execution import remove_leftovers


def open_service(context: Context) -> Emr:
    """Start EMR with the clusters and steps that it has on record."""
    folder = context.data / "emr"
    remove_leftovers(folder)
    steps = StepRunner(context.runner, context.engines, folder)
    clusters = Clusters(History(context.database), steps, state_s=context.state_s, running_s=context.running_s)
    clusters.start()
    return Emr(clusters, SecurityConfigurations(context.database), REGION)

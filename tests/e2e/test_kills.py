"""Pods are killed under the running main job: its run succeeds, its tables are right, its follower holds out."""

import re
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster import diagnosis
from console.errors import UserError
from tests.e2e.conftest import Platform, wait_for
from tests.e2e.tables import require_equal_to_the_oracle

# Components, and the selector of their pods.
PODS = {
    **{
        name: f"release=airflow,component={name}"
        for name in (
            "api-server",
            "dag-processor",
            "flower",
            "pgbouncer",
            "redis",
            "scheduler",
            "statsd",
            "triggerer",
            "worker",
        )
    },
    **{name: f"app.kubernetes.io/name={name}" for name in ("git-server", "local-aws", "mysql", "postgres")},
    "a task's own pod": "dag_id=hvfhv_analysis,kubernetes_executor",
}
# Lines of the follower, which may see a short task or step only when it has ended.
COLLECTS, STEP_RUNS, STEP_ENDED = r": list_data_sets ", r" step .* (runs$|is complete)", r" step .* is complete"
FOLLOWER_S = 1500


def kill(platform: Platform, component: str) -> list[str]:
    """Kill the pods of a component as a lost machine would, with no time to end; return their names."""
    names = wait_for(f"a pod of {component}", lambda: _running(platform, PODS[component]))
    platform.kubectl.run("delete", "pod", *names, "--grace-period=0", "--force", "--wait=false")
    return list(names)


def _running(platform: Platform, selector: str) -> list[str]:
    pods = platform.kubectl.items("pods", "-l", selector)
    return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]


def demo_with_kills(platform: Platform, demo_list: Path, kills: Mapping[str, str]) -> str:
    """Follow the demo, killing each component at the first line that a pattern finds; return what the follower said.

    Args:
        platform: the one to kill parts of.
        demo_list: data sets of the demo.
        kills: component → pattern of a line of the follower.
    """
    process = platform.start("kind-demo", CATALOG=str(demo_list))
    limit = threading.Timer(FOLLOWER_S, process.kill)
    limit.start()
    waiting, lines = dict(kills), []
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        print(line, end="")
        for component in [each for each, pattern in waiting.items() if re.search(pattern, line)]:
            del waiting[component]
            print(f"killed {', '.join(kill(platform, component))}")
    limit.cancel()
    output = "".join(lines)
    assert process.wait() == 0, output
    assert not waiting, output
    assert "Traceback" not in output
    return output


def settle(platform: Platform) -> None:
    """Wait until everything is well again."""

    def well() -> bool:
        try:
            return not diagnosis.diagnose(platform.kubectl)
        except UserError:
            return False

    wait_for("all pods are well", well, 600, 3)


def test_the_main_job_outlives_its_api_server_database_and_worker(
    platform: Platform, one_month: Path, tmp_path: Path
) -> None:
    output = demo_with_kills(platform, one_month, {"api-server": COLLECTS, "postgres": STEP_RUNS, "worker": STEP_ENDED})
    # Without either, it cannot have been answered at once.
    assert "Airflow's API server does not answer" in output
    assert output.count("does not answer (") == output.count("answers again after")
    require_equal_to_the_oracle(platform, tmp_path)
    settle(platform)


@pytest.mark.full
@pytest.mark.parametrize("component", PODS)
def test_the_main_job_outlives_each_component(
    platform: Platform, one_month: Path, tmp_path: Path, component: str
) -> None:
    when = r": report runs" if component == "a task's own pod" else STEP_RUNS
    # With local AWS ends every cluster of its EMR, which no run outlives, as on AWS: it is killed before there is one.
    if component in ("worker", "mysql", "git-server", "local-aws"):
        when = COLLECTS
    demo_with_kills(platform, one_month, {component: when})
    require_equal_to_the_oracle(platform, tmp_path)
    settle(platform)

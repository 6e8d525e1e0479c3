"""Commands for a pod that pages name: a worker alone has the DAGs' folder, the connections and the role on AWS."""

import re
from pathlib import Path

import pytest

from cluster.platform import CHECKOUT, WORKER, WORKER_CONTAINER
from tests.helm.rendering import ENVIRONMENTS, render

ROOT = Path(__file__).parents[2]
# The variable is of the command alone: in the pod it would come before what is installed, so that a file dags/redis.py
# would be the worker's own "redis".
COMMAND = (
    f"exec {WORKER.replace('deployment/', 'deploy/')} -c {WORKER_CONTAINER} -- "
    f"env PYTHONPATH={CHECKOUT}/dags python -m "
)
IN_A_POD = re.compile(r"kubectl[^`\n]* exec [^`\n]*-m (?:taxiway|…)[^`\n]*")


def pages() -> list[Path]:
    kept = [path for path in ROOT.iterdir() if not path.name.startswith(".") and path.name != "tests"]
    named = [path for folder in kept for pattern in ("*.md", "*.py", "*.yaml") for path in folder.rglob(pattern)]
    return [path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *named)]


def test_every_command_of_ours_runs_in_a_worker() -> None:
    found = {
        (str(path), command)
        for path in pages()
        for command in IN_A_POD.findall((ROOT / path).read_text(encoding="utf-8").replace("\\\n", " "))
    }
    assert len(found) > 20
    assert [each for each in sorted(found) if COMMAND not in each[1]] == []
    modules = {module for _, command in found for module in re.findall(r"-m (taxiway[.\w]*)", command)}
    folders = [ROOT / "dags" / module.replace(".", "/") for module in modules]
    assert [
        each for each in folders if not (each.with_suffix(".py").is_file() or (each / "__main__.py").is_file())
    ] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_worker_is_what_the_commands_name_it(environment: str) -> None:
    pod = render(environment).pod("worker")
    assert pod is not None
    assert f"{pod.kind.lower()}/{pod.name}" == WORKER
    containers = {each.name: each for each in pod.containers}
    (mount,) = (each for each in containers[WORKER_CONTAINER].spec["volumeMounts"] if each["name"] == "dags")
    link = containers["git-sync"].env["GITSYNC_LINK"]
    assert f"{mount['mountPath']}/{link}" == CHECKOUT

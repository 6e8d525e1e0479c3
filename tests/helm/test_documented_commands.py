"""Commands for a pod that pages name: a worker alone has the DAGs' folder, the connections and the role on AWS."""

import re
from pathlib import Path

import pytest

from cluster.credentials import kind_secrets
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


def test_pages_name_the_pool_that_a_database_has() -> None:
    """A line's own size is the one that counts."""
    ini = kind_secrets("taxiway", {})["airflow-pgbouncer-config"]["pgbouncer.ini"]
    lines = [line for line in ini.splitlines() if " dbname=" in line]
    assert len(lines) == 3
    assert [line for line in lines if " pool_size=" not in line] == []
    assert "`pool_size=` in the line" in (ROOT / "docs/runbooks/DatabaseClientsWaiting.md").read_text(encoding="utf-8")


def test_the_page_of_the_scorer_says_that_it_waits_for_a_model() -> None:
    template = (ROOT / "helm/platform/templates/eta-scorer.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs/eta-on-aws.md").read_text(encoding="utf-8")
    assert "--wait-for-model" in template
    assert "until a model is live it waits" in page

"""Runs checkov over what the repository deploys: rendered charts, Dockerfiles, workflows, the CloudFormation template.

``python -m checks.policy CHECKOV`` prints every finding that ``policy.yaml`` does not exclude, and every exclusion that
excludes nothing, and ends with status 1 if there is one. CHECKOV is the program's path. Nothing is downloaded but the
official chart where it is missing. Without helm or that chart the part is skipped and says so; with
``TAXIWAY_REQUIRE_TOOLS=1`` a missing helm is an error.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cluster import releases
from cluster.chart import chart_path
from cluster.config import Config
from console.errors import UserError
from console.options import ROOT

TAG = "0123456789ab"
FRAMEWORKS = ("kubernetes", "cloudformation", "dockerfile", "github_actions")
FILES = ("*Dockerfile", ".github/workflows/*.yml", "aws/platform.yaml")
# What a person gives for EKS, and as many features as go together, so that each kind of object is looked at once.
EKS_FEATURES = "big-workers https-git ingress keda oidc secrets-manager team-roles"
EKS_VALUES = {
    "global": {"taxiway": {"account": "123456789012", "bucketPrefix": "taxiway-123456789012"}},
    "dags": {"gitSync": {"repo": "https://git.example.org/taxiway.git"}},
}
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "kind": {"IMAGE_TAG": TAG},
    "eks": {"ENV": "eks", "IMAGE_REGISTRY": "registry.example.org", "IMAGE_TAG": TAG, "FEATURES": EKS_FEATURES},
}

Exclusions = Mapping[str, Mapping[str, str]]


class PolicyError(Exception):
    """The checks could not be run; the text says why and what to do."""


class Finding(NamedTuple):
    """What checkov found: its check, what that asks for, and the file and object in question."""

    check: str
    asks: str
    where: str


def manifests(text: str, namespace: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a release as they are installed: with its namespace, and the executor's pod among them."""
    for each in yaml.safe_load_all(text):
        if not each:
            continue
        yield each | {"metadata": {"namespace": namespace, **each["metadata"]}}
        if each["kind"] == "ConfigMap" and (pod := each.get("data", {}).get("pod_template_file.yaml")):
            yield from manifests(pod, namespace)


def render_charts(folder: Path, helm: str) -> list[str]:
    """Write what charts make into ``<environment>/<release>.yaml``; return what was skipped."""
    skipped: list[str] = []
    own = folder / "own.json"
    own.write_text(json.dumps(EKS_VALUES), encoding="utf-8")
    try:
        chart_path()
    except UserError as error:
        skipped.append(f"the official chart: {error}")
    for environment, given in ENVIRONMENTS.items():
        config = Config.from_environment({**given, **({"VALUES": str(own)} if environment == "eks" else {})})
        described = (
            partial(releases.platform, config, TAG),
            *([] if skipped else [partial(releases.airflow, config, TAG)]),
            partial(releases.monitoring, config),
        )
        for describe in described:
            release = describe()
            command = [helm, "template", release.name, release.chart, "--namespace", config.namespace]
            done = subprocess.run([*command, *release.arguments], capture_output=True, text=True, check=False)
            if done.returncode:
                raise PolicyError(f"helm cannot render {release.name} for {environment}: {done.stderr.strip()}")
            file = folder / environment / f"{release.name}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(yaml.safe_dump_all(manifests(done.stdout, config.namespace)), encoding="utf-8")
    own.unlink()
    return skipped


def copy_files(folder: Path) -> None:
    """Copy the files of the repository that are looked at as they stand."""
    listed = subprocess.run(["git", "ls-files", "--", *FILES], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def findings(checkov: str, folder: Path, frameworks: tuple[str, ...]) -> list[Finding]:
    """Return what checkov finds in a folder.

    Raises:
        PolicyError: it could not read a file, or looked at nothing.
    """
    command = [checkov, "--directory", str(folder), "--framework", *frameworks]
    command += ["--skip-download", "--compact", "--quiet", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    try:
        read = json.loads(done.stdout)
    except ValueError:
        raise PolicyError(f"{checkov} failed: {(done.stderr or done.stdout).strip()[-500:]}") from None
    reports = {
        each["check_type"]: each for each in (read if isinstance(read, list) else [read]) if "check_type" in each
    }
    for name in frameworks:
        summary = reports.get(name, {}).get("summary", {})
        if not summary.get("passed", 0) + summary.get("failed", 0):
            raise PolicyError(f"checkov looked at nothing of the kind {name}.")
        if summary["parsing_errors"]:
            raise PolicyError(f"checkov cannot read: {', '.join(reports[name]['results']['parsing_errors'])}.")
    return [
        Finding(each["check_id"], each["check_name"], f"{each['file_path'].lstrip('/')} {each['resource']}")
        for report in reports.values()
        for each in report["results"]["failed_checks"]
    ]


def judge(found: list[Finding], exclusions: Exclusions) -> tuple[list[Finding], list[str]]:
    """Return the findings that are not excluded, and the exclusions that exclude nothing, as ``check: pattern``."""
    used: set[tuple[str, str]] = set()
    rest = []
    for each in found:
        patterns = [(each.check, pattern) for pattern in exclusions.get(each.check, {})]
        matching = {(check, pattern) for check, pattern in patterns if fnmatchcase(each.where, pattern)}
        used |= matching
        if not matching:
            rest.append(each)
    unused = [f"{check}: {pattern}" for check, patterns in exclusions.items() for pattern in patterns]
    return rest, [each for each in unused if tuple(each.split(": ", 1)) not in used]


def run(checkov: str, environment: Mapping[str, str]) -> int:
    """Check everything, print what is wrong and what was skipped, and return the exit status."""
    exclusions: Exclusions = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    helm = shutil.which("helm", path=os.pathsep.join((str(ROOT / ".local/bin"), environment.get("PATH", ""))))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_files(folder)
        if helm:
            skipped = render_charts(folder, helm)
        elif environment.get("TAXIWAY_REQUIRE_TOOLS") == "1":
            raise PolicyError("helm is not installed: helm/tools/install.sh helm")
        else:
            skipped = ["all charts: helm is not installed: helm/tools/install.sh helm"]
        rest, unused = judge(findings(checkov, folder, FRAMEWORKS if helm else FRAMEWORKS[1:]), exclusions)
    for each in sorted(rest):
        print(f"{each.check}: {each.where}: {each.asks}")
    for what in skipped:
        print(f"checkov skipped: {what}")
    if unused and not skipped:
        print("checks/policy.yaml excludes what was not found:", *unused, sep="\n  ")
    return 1 if rest or (unused and not skipped) else 0


if __name__ == "__main__":
    try:
        sys.exit(run(str(Path(sys.argv[1]).absolute()), os.environ))
    except (PolicyError, UserError) as error:
        sys.exit(f"checkov: {error}")

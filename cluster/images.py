"""Our container images: built from the checkout, and made known to a cluster that has no registry."""

import shlex
import subprocess
from collections.abc import Callable, Sequence

from cluster.config import KIND_CLUSTER, Config
from cluster.git import head
from cluster.shell import last_lines, require, run
from console.errors import UserError
from console.options import ROOT

Report = Callable[[str], None]

# Image → the variable that names what it is built on; the Dockerfile has the default.
BASES = {
    "airflow": "AIRFLOW_BASE_IMAGE",
    "local-aws": "PYTHON_BASE_IMAGE",
    "git-server": "DEBIAN_BASE_IMAGE",
    "services": "PYTHON_BASE_IMAGE",
}
ON_KIND = ("airflow", "local-aws", "git-server")
SPARK = "spark"  # built on our own local-aws
SERVICES = "services"  # with the feature eta
BUILD_S = 3600


def wanted(config: Config) -> list[str]:
    """Return the images to build: those that ``IMAGES`` names, or the three of kind and those that are asked for.

    Apache Spark's is by ``ENGINE=spark``, that of the services by the feature ``eta``.

    Raises:
        UserError: one is unknown.
    """
    names = (config.given.get("IMAGES") or "").replace(",", " ").split()
    for name in names:
        if name not in (*BASES, SPARK):
            raise UserError(f"IMAGES: {name!r} is not known; there are: {', '.join((*BASES, SPARK))}.")
    if not names:
        asked = {SERVICES: "eta" in config.features, SPARK: config.engine == "spark"}
        names = [*ON_KIND, *(name for name, wanted in asked.items() if wanted)]
    names = list(dict.fromkeys(names))
    if SPARK in names:
        names = [*(name for name in names if name not in ("local-aws", SPARK)), "local-aws", SPARK]
    return names


def build(config: Config, tag: str, report: Report) -> list[str]:
    """Build images and return their names with the tag.

    Raises:
        UserError: docker is missing or does not answer, or a build fails.
    """
    names = wanted(config)
    require_docker()
    built = []
    for name in names:
        dockerfile = ROOT / "images" / name / "Dockerfile"
        if not dockerfile.exists():
            raise UserError(f"There is no {dockerfile.relative_to(ROOT)} to build the image {name!r} from.")
        image = f"{config.repository(name)}:{tag}"
        base = f"{config.repository('local-aws')}:{tag}" if name == SPARK else config.given.get(BASES[name])
        report(f"builds {image}" + (f" on {base}" if base else ""))
        command = ["docker", "build", "--file", str(dockerfile), "--tag", image]
        command += ["--build-arg", f"VERSION={tag}", "--build-arg", f"REVISION={head()}"]
        command += ["--build-arg", f"BASE_IMAGE={base}"] if base else []
        result = run([*command, str(ROOT)], seconds=BUILD_S)
        if result.returncode:
            raise UserError(_build_failure(name, result.stdout + result.stderr))
        built.append(image)
    return built


def load(config: Config, images: Sequence[str], report: Report) -> None:
    """Make images known to the cluster's nodes: by kind, or by the command of ``IMAGE_LOADER``.

    Raises:
        UserError: there is no way, or it fails.
    """
    if config.loader:
        command = [*shlex.split(config.loader), *images]
    elif config.own_kind_cluster:
        require("kind")
        command = ["kind", "load", "docker-image", "--name", KIND_CLUSTER, *images]
    else:
        raise UserError(
            f"The cluster of the context {config.context!r} is not that of kind: name by IMAGE_LOADER=… a command that "
            "loads images into it (it gets NAME:TAG…)."
        )
    report(f"loads {len(images)} images into the cluster")
    result = run(command, seconds=1800)
    if result.returncode:
        raise UserError(f"The images were not loaded: {last_lines(result.stderr or result.stdout)}")


def require_docker() -> None:
    """Check that docker is there and its daemon answers; UserError otherwise."""
    require("docker")
    result = run(["docker", "version", "--format", "{{.Server.Version}}"], seconds=30)
    if result.returncode:
        raise UserError(f"Docker does not answer ({last_lines(result.stderr, 1)}): start it, then repeat the command.")


def kind_clusters() -> list[str]:
    """Return the clusters that kind knows on this machine."""
    require("kind")
    result = run(["kind", "get", "clusters"], seconds=60)
    if result.returncode:
        raise UserError(f"kind does not list its clusters: {last_lines(result.stderr)}")
    return result.stdout.split()


def create_kind_cluster() -> None:
    """Make the cluster of helm/kind/cluster.yaml, and its context in KUBECONFIG."""
    config = ROOT / "helm/kind/cluster.yaml"
    command = ["kind", "create", "cluster", "--name", KIND_CLUSTER, "--config", str(config), "--wait", "180s"]
    result = run(command, seconds=900)
    if result.returncode:
        raise UserError(f"kind did not make the cluster {KIND_CLUSTER!r}: {last_lines(result.stderr, 6)}")


def export_context() -> None:
    """Write the cluster's context into KUBECONFIG: it may be another file than when the cluster was made."""
    result = run(["kind", "export", "kubeconfig", "--name", KIND_CLUSTER], seconds=60)
    if result.returncode:
        raise UserError(f"kind does not export the context of its cluster: {last_lines(result.stderr)}")


def delete_kind_cluster() -> None:
    """Remove the cluster, with everything in it."""
    result: subprocess.CompletedProcess[str] = run(["kind", "delete", "cluster", "--name", KIND_CLUSTER], seconds=300)
    if result.returncode:
        raise UserError(f"kind did not remove the cluster {KIND_CLUSTER!r}: {last_lines(result.stderr)}")


def _build_failure(name: str, message: str) -> str:
    tail = "\n".join(f"    {line}" for line in message.strip().splitlines()[-12:])
    hint = ""
    if "pull access denied" in message or "failed to resolve" in message or "manifest unknown" in message:
        hint = f"\n  → its base image is unavailable: name another by {BASES.get(name, 'BASE_IMAGE')}=…"
    return f"The image {name!r} was not built; docker's last lines:\n{tail}{hint}"

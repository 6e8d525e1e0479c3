"""The checkout: which commit it is at, and its way into the cluster's git server."""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.kubectl import Kubectl, connection_problem
from cluster.shell import last_lines, output, run
from console.errors import UserError
from console.options import ROOT

BRANCH = "main"
SERVER_POD = "git-server-0"
SERVER_PATH = "/srv/git/taxiway.git"
# What the images are made of: a change there that is not committed makes another image.
IMAGE_SOURCES = ("images", "local_aws", "requirements", ".dockerignore")


def head(root: Path = ROOT) -> str:
    """Return the commit that is checked out; UserError if there is none."""
    result = run(["git", "rev-parse", "--verify", "HEAD"], seconds=30, cwd=root)
    if result.returncode:
        raise UserError(f"{root} is in no git repository with a commit: clone the repository, or commit first.")
    return result.stdout.strip()


def uncommitted(root: Path = ROOT) -> list[str]:
    """Return the files that differ from the commit, new ones included."""
    lines = output(["git", "status", "--porcelain", "--untracked-files=all"], seconds=60, cwd=root).splitlines()
    return [line[3:] for line in lines]


def image_tag(root: Path = ROOT) -> str:
    """Return the tag of the images that the checkout makes: its commit, and a hash of what is not committed in them."""
    tag = head(root)[:12]
    changed = output(
        ["git", "status", "--porcelain", "--untracked-files=all", "-z", "--", *IMAGE_SOURCES], seconds=60, cwd=root
    )
    if not changed:
        return tag
    content = hashlib.sha256(changed.encode())
    for entry in sorted(changed.split("\0")):
        file = root / entry[3:]
        if entry and file.is_file():
            content.update(file.read_bytes())
    return f"{tag}-dirty-{content.hexdigest()[:8]}"


def push(kubectl: Kubectl, root: Path = ROOT) -> tuple[str, str]:
    """Bring HEAD into the cluster's git server as its branch ``main``, whatever that was before.

    Anybody who may run commands in the server's pod may push; nothing listens for pushes.

    Returns:
        the branch's commit before (empty if there was none) and now.

    Raises:
        UserError: the server cannot be reached, or refuses; the text has git's words.
    """
    commit = head(root)
    before = branch_head(kubectl)
    # %S is git's own word for what the other side shall run; blanks part words, so that they are escaped.
    words = ["kubectl", "--context", kubectl.context, "-n", kubectl.namespace, "exec", "-i", SERVER_POD, "--"]
    remote = "ext::" + " ".join(word.replace("%", "%%").replace(" ", "% ") for word in words) + f" %S {SERVER_PATH}"
    result = run(
        [
            "git",
            "-c",
            "protocol.ext.allow=always",
            "push",
            "--quiet",
            "--force",
            remote,
            f"{commit}:refs/heads/{BRANCH}",
        ],
        seconds=300,
        cwd=root,
    )
    if result.returncode:
        raise UserError(push_problem(result.stderr, kubectl.context))
    return before, commit


def branch_head(kubectl: Kubectl) -> str:
    """Return the commit of the branch in the cluster's git server, empty if it has none yet."""
    command = ["git", "-C", SERVER_PATH, "rev-parse", "--quiet", "--verify", f"refs/heads/{BRANCH}"]
    result = kubectl.execute(f"pod/{SERVER_POD}", *command, seconds=60)
    if result.returncode and ("Error from server" in result.stderr or "error:" in result.stderr):
        raise UserError(push_problem(result.stderr, kubectl.context))
    return result.stdout.strip()


def push_problem(message: str, context: str) -> str:
    """Return why a push into the cluster's git server failed."""
    if problem := connection_problem(message, context):
        return problem
    last = last_lines(message, 4)
    if "NotFound" in message or ("not found" in message and "pods" in message):
        return f"There is no git server ({SERVER_POD}) in the cluster: make kind-up makes it."
    if "forbidden" in message.lower():
        return f"You may not run commands in {SERVER_POD}, which pushing needs: ask for pods/exec there ({last})."
    if "shallow" in message:
        return f"This clone is shallow, and the git server takes whole histories: git fetch --unshallow ({last})."
    if "does not appear to be a git repository" in message or "not a git repository" in message:
        return f"{SERVER_POD} has no repository {SERVER_PATH}: see kubectl logs {SERVER_POD} ({last})."
    return f"The push into {SERVER_POD} failed: {last}"


def dag_files(commit: str, root: Path = ROOT) -> set[str]:
    """Return the names of the files of a commit in which Airflow looks for DAGs: those that name both words."""
    names = output(["git", "ls-tree", "--name-only", commit, "dags/"], seconds=30, cwd=root).split()
    found = set()
    for name in names:
        if name.endswith(".py"):
            text = output(["git", "show", f"{commit}:{name}"], seconds=30, cwd=root).lower()
            if "dag" in text and "airflow" in text:
                found.add(Path(name).name)
    return found


@contextmanager
def exported(commit: str, *paths: str, root: Path = ROOT) -> Iterator[Path]:
    """Have files of a commit, as they were committed, in a folder for the length of a ``with`` block."""
    with tempfile.TemporaryDirectory(prefix="taxiway-") as folder:
        archive = Path(folder) / "commit.tar"
        output(["git", "archive", "--output", str(archive), commit, "--", *paths], seconds=120, cwd=root)
        files = Path(folder) / "files"
        files.mkdir()
        subprocess.run(["tar", "-xf", str(archive), "-C", str(files)], check=True, timeout=120)
        yield files

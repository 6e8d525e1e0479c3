"""Other programs: found or missed by name, and never waited for without a limit."""

import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from console.errors import UserError

HOW_TO_INSTALL = {
    "docker": "install Docker Engine, https://docs.docker.com/engine/install/",
    "kind": "install kind 0.30 or later, https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    "helm": "install Helm 3.19 or later, https://helm.sh/docs/intro/install/",
    "kubectl": "install kubectl, https://kubernetes.io/docs/tasks/tools/",
    "git": "install git, https://git-scm.com/downloads",
}


def require(*programs: str) -> None:
    """Check that programs can be found.

    Raises:
        UserError: one cannot; the text says where to get it.
    """
    for program in programs:
        if not shutil.which(program):
            hint = HOW_TO_INSTALL.get(program, "install it, or name another")
            raise UserError(f"The program {program!r} is needed and is not on the PATH: {hint}.")


def run(
    command: Sequence[str],
    *,
    seconds: float,
    text_in: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end and return its output, whatever its exit status.

    Args:
        command: program and arguments; secrets are never among them.
        seconds: how long it may take.
        text_in: what it reads; otherwise it has no standard input.
        cwd: its folder.
        environment: its variables; by default ours.

    Raises:
        UserError: the program is missing, or took too long.
    """
    require(command[0])
    try:
        return subprocess.run(
            list(command), input=text_in, stdin=None if text_in is not None else subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=seconds, cwd=cwd, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"{brief(command)} did not end within {seconds:.0f} s and was stopped.") from None


def output(
    command: Sequence[str],
    *,
    seconds: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    accepted: Collection[int] = (0,),
) -> str:
    """Run a program and return its standard output.

    Raises:
        UserError: the program is missing, took too long or failed; the text has its last lines.
    """
    result = run(command, seconds=seconds, cwd=cwd, environment=environment)
    if result.returncode not in accepted:
        raise UserError(f"{brief(command)} failed: {last_lines(result.stderr or result.stdout)}")
    return result.stdout


def brief(command: Sequence[str]) -> str:
    """Return a command for a message, without the options that all of them have."""
    words, hidden = [], {"--context", "--kube-context", "-n", "--namespace", "--request-timeout"}
    skip = False
    for word in command:
        if skip or word in hidden:
            skip = not skip
        elif not word.startswith(tuple(f"{name}=" for name in hidden)):
            words.append(word)
    return " ".join(words[:6]) + (" …" if len(words) > 6 else "")


def last_lines(text: str, count: int = 3) -> str:
    """Return the last lines of the output of a program, as one line."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " | ".join(lines[-count:]) or "it gave no reason"

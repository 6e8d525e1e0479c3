"""How demos reach the cluster: the place of files in the pods, and modules that run in a worker."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.access import ForwardAccess
from cluster.kubectl import Forward, Kubectl
from cluster.platform import BUNDLE_CHECKOUT, CHECKOUT, checkout_path, module_command, run_in_pod, run_module
from console.airflow import Airflow
from console.errors import UserError
from tests.console.airflow_server import AirflowServer, serve
from tests.processes import wait_for_end


def test_files_of_the_checkout_are_where_git_sync_puts_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.parquet").write_text("")
    assert checkout_path(tmp_path / "a/../a/b.parquet", tmp_path) == "/opt/airflow/dags/repo/a/b.parquet"


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("")
    for file in ("b.parquet", "checkout/none.parquet"):
        with pytest.raises(UserError, match=rf"{file} is no file of the checkout, and the cluster's pods see no other"):
            checkout_path(tmp_path / file, tmp_path / "checkout")


def run_here(folder: Path, command: list[str], text: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a worker's command with a python that says what it was given."""
    program = folder / "python"
    program.write_text(
        '#!/bin/sh\necho "$PYTHONPATH" "$@" | sed "s#$TMPDIR/[^/]*#TMP#"\n'
        'for last; do :; done; [ -f "$last" ] && cat "$last"; exit 3\n'
    )
    program.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "TMPDIR": str(folder)}
    return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)


def test_a_module_runs_with_the_delivered_dags_and_its_status_counts(tmp_path: Path) -> None:
    result = run_here(tmp_path, module_command("taxiway.catalogue", "migrate"))
    assert (result.returncode, result.stdout) == (
        3,
        f"{CHECKOUT}/dags:{CHECKOUT} -m taxiway.catalogue migrate\n",
    )


def test_a_file_reaches_a_pod_by_standard_input(tmp_path: Path) -> None:
    command = module_command("taxiway.catalogue", "load", "--whole-months", file="my list.csv")
    result = run_here(tmp_path, command, "a,b\n")
    expected = f"{CHECKOUT}/dags:{CHECKOUT} -m taxiway.catalogue load --whole-months TMP/my list.csv\na,b\n"
    assert (result.returncode, result.stdout) == (3, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["python"], "nothing is left behind"


def kubectl_that(folder: Path, script: str, patch: pytest.MonkeyPatch) -> Kubectl:
    """Return a kubectl that counts its calls in the file ``calls``, one line each, and does what a script says."""
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\necho x >>{folder}/calls\ncalls=$(wc -l <{folder}/calls)\n{script}\n")
    program.chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    patch.setattr("console.patience.PATIENCE_S", 20)
    patch.setattr("console.patience.LONGEST_PAUSE_S", 0.05)
    return Kubectl("c", "n")


@pytest.mark.parametrize(
    "words",
    [
        'error: unable to upgrade connection: container not found ("worker")',
        'Error from server (NotFound): pods "airflow-worker-1" not found',
        "command terminated with exit code 137",
        "error: cannot exec into a container in a completed pod; current phase is Failed",
    ],
)
def test_a_worker_that_is_being_replaced_is_waited_for(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = kubectl_that(tmp_path, f"[ $calls -lt 3 ] && {{ echo '{words}' >&2; exit 1; }}; echo done", monkeypatch)
    said = list[str]()
    assert run_module(kubectl, "taxiway.catalogue", "migrate", say=said.append) == "done\n"
    assert len(said) == 2
    assert said[0].startswith("The worker does not answer (")


def test_a_module_that_fails_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = kubectl_that(tmp_path, "echo 'No such list.' >&2; exit 1", monkeypatch)
    with pytest.raises(UserError, match=r"taxiway\.catalogue load failed in the worker: No such list\.$"):
        run_module(kubectl, "taxiway.catalogue", "load")
    assert (tmp_path / "calls").read_text() == "x\nx\n", "one to find the checkout"


def test_a_pod_that_starts_is_waited_for_and_a_command_that_fails_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        'case "$calls$*" in 1*) echo "error: container not found" >&2; exit 1;; *fail*) echo No. >&2; exit 2;; esac'
    )
    kubectl = kubectl_that(tmp_path, f'{script}; echo "$@"', monkeypatch)
    said = list[str]()
    output = run_in_pod(kubectl, "eta-scorer", ["python", "-m", "services.replay"], said.append)
    assert output.endswith("exec deployment/eta-scorer -c eta-scorer -- python -m services.replay")
    assert said[0].startswith("The pod of eta-scorer does not answer (error: container not found)")
    with pytest.raises(UserError, match=r"^fail failed in a pod of eta-scorer: No\.$"):
        run_in_pod(kubectl, "eta-scorer", ["fail"])


def test_a_forward_is_opened_when_it_is_needed_and_again_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pod that is not there yet is waited for, and one that is replaced."""
    server = AirflowServer()
    server.password = "right"
    with serve(server):
        port = server.url.rpartition(":")[2]
        script = (
            "case $calls in\n1|4) echo 'error: unable to forward port because pod is not running' ; exit 1;;\n"
            f"*) echo $$ >{tmp_path}/pid; echo 'Forwarding from 127.0.0.1:{port} -> 8080'; exec sleep 60;;\nesac"
        )
        kubectl = kubectl_that(tmp_path, script, monkeypatch)
        forward = Forward(kubectl, "service/airflow-api-server", 8080)
        try:
            airflow = Airflow(ForwardAccess(forward, "admin", "right"), print)
            assert not (tmp_path / "calls").exists()
            airflow.login()
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            forward.wait(10)
            assert airflow.dags() == []
            server.faults = ["cut"]
            assert airflow.dags() == [], "the forward is opened anew, in vain at first"
        finally:
            forward.close()
    assert (tmp_path / "calls").read_text().count("x") == 5
    said = capsys.readouterr().out
    assert said.count("pod is not running): waits for it, at most 20 s") == 1
    assert said.count("answers again") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="system: only Linux can end a child with its parent")
def test_a_forward_ends_with_a_command_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl_that(tmp_path, "printf 'W1125 old\\nForwarding from 127.0.0.1:5 -> 8\\n'; exec sleep 60", monkeypatch)
    code = (
        "import time; from cluster.kubectl import Forward, Kubectl\n"
        "forward = Forward(Kubectl('c', 'n'), 'service/x', 1); forward.ensure()\n"
        "print(forward._process.pid, flush=True); time.sleep(60)"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert command.stdout
    forward = psutil.Process(int(command.stdout.readline()))
    command.kill()
    command.communicate()
    wait_for_end([forward])


def test_a_git_bundle_is_brought_up_to_date_before_a_module_of_it_runs(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(
        '#!/bin/sh\n[ "$1" != -c ] || { cat; echo "fetched" >&2; exit "${FETCH:-0}"; }\necho "$PYTHONPATH $*"\ncat\n'
    )
    program.chmod(0o755)
    command = module_command("taxiway.catalogue", "migrate", checkout=BUNDLE_CHECKOUT)
    for status, output in (
        ("0", f"{BUNDLE_CHECKOUT}/dags:{BUNDLE_CHECKOUT} -m taxiway.catalogue migrate\nthe input\n"),
        ("7", ""),
    ):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "FETCH": status}
        result = subprocess.run(
            command, input="the input\n", capture_output=True, text=True, env=environment, check=False
        )
        assert (result.returncode, result.stdout, result.stderr) == (int(status), output, "fetched\n")


def test_files_are_where_the_git_bundle_puts_them(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("")
    assert checkout_path(tmp_path / "b.parquet", tmp_path, BUNDLE_CHECKOUT) == f"{BUNDLE_CHECKOUT}/b.parquet"

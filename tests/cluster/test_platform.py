"""How demos reach the cluster: the place of files in the pods, and modules that run in a worker."""

import subprocess
from pathlib import Path

import pytest

from cluster.platform import BUNDLE_CHECKOUT, checkout_path, module_command
from console.errors import UserError


def test_files_of_the_checkout_are_where_git_sync_puts_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.parquet").write_text("")
    assert checkout_path(tmp_path / "a/../a/b.parquet", tmp_path) == "/opt/airflow/dags/repo/a/b.parquet"


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("")
    for file in ("b.parquet", "checkout/none.parquet"):
        with pytest.raises(UserError, match=rf"{file} is no file of the checkout, and the cluster's pods see no other"):
            checkout_path(tmp_path / file, tmp_path / "checkout")


def run_in_pod(folder: Path, command: list[str], text: str | None = None) -> "subprocess.CompletedProcess[str]":
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
    result = run_in_pod(tmp_path, module_command("taxiway.catalogue", "migrate"))
    assert (result.returncode, result.stdout) == (3, "/opt/airflow/dags/repo/dags -m taxiway.catalogue migrate\n")


def test_a_file_reaches_a_pod_by_standard_input(tmp_path: Path) -> None:
    command = module_command("taxiway.catalogue", "load", "--whole-months", file="my list.csv")
    result = run_in_pod(tmp_path, command, "a,b\n")
    expected = "/opt/airflow/dags/repo/dags -m taxiway.catalogue load --whole-months TMP/my list.csv\na,b\n"
    assert (result.returncode, result.stdout) == (3, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["python"], "nothing is left behind"


def test_a_git_bundle_is_brought_up_to_date_before_a_module_of_it_runs(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(
        '#!/bin/sh\n[ "$1" != -c ] || { cat; echo "fetched" >&2; exit "${FETCH:-0}"; }\necho "$PYTHONPATH $*"\ncat\n'
    )
    program.chmod(0o755)
    command = module_command("taxiway.catalogue", "migrate", checkout=BUNDLE_CHECKOUT)
    for status, output in (("0", f"{BUNDLE_CHECKOUT}/dags -m taxiway.catalogue migrate\nthe input\n"), ("7", "")):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "FETCH": status}
        result = subprocess.run(
            command, input="the input\n", capture_output=True, text=True, env=environment, check=False
        )
        assert (result.returncode, result.stdout, result.stderr) == (int(status), output, "fetched\n")


def test_files_are_where_the_git_bundle_puts_them(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("")
    assert checkout_path(tmp_path / "b.parquet", tmp_path, BUNDLE_CHECKOUT) == f"{BUNDLE_CHECKOUT}/b.parquet"

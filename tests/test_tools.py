"""Skips: which are accepted where all tools are required, and how they are counted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import ROOT

SKIPPED = {
    "chart": 'absent("chart", "not downloaded")',
    "cluster": 'absent("cluster", "not asked for")',
    "tool": 'tool("no-such-program")',
    "other": 'pytest.skip("a reason of its own")',
    "module": 'pytest.importorskip("no_such_module")',
}


def run(tmp_path: Path, *names: str, required: bool) -> tuple[int, str]:
    """Run a test for each kind of skip; return pytest's exit status and what it printed."""
    head = "import pytest\nfrom tests.tools import absent, tool\n"
    text = "".join(f"def test_{name}():\n    {SKIPPED[name]}\n" for name in names)
    (tmp_path / "test_planted.py").write_text(head + text, encoding="utf-8")
    options = ["-q", "-p", "tests.conftest", "-c", os.devnull, f"--rootdir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        cwd=ROOT, env=os.environ | {"TAXIWAY_REQUIRE_TOOLS": str(int(required)), "PYTEST_ADDOPTS": ""},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.slow
def test_every_skip_is_counted(tmp_path: Path) -> None:
    status, said = run(tmp_path, *SKIPPED, required=False)
    assert status == 0
    counts = "1 for the chart, 1 for the cluster, 3 for missing tools (a failure with TAXIWAY_REQUIRE_TOOLS=1)"
    assert f"skipped: {counts}\n" in said


@pytest.mark.slow
def test_the_chart_and_the_cluster_may_be_absent_where_tools_are_required(tmp_path: Path) -> None:
    status, said = run(tmp_path, "chart", "cluster", required=True)
    assert status == 0
    assert "skipped: 1 for the chart, 1 for the cluster\n" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tool", "other", "module"])
def test_any_other_skip_is_a_failure_where_tools_are_required(tmp_path: Path, name: str) -> None:
    status, said = run(tmp_path, name, required=True)
    assert status == 1
    assert "TAXIWAY_REQUIRE_TOOLS=1 does not let this be skipped" in said


@pytest.mark.slow
def test_a_module_that_skips_itself_is_a_failure_where_tools_are_required(tmp_path: Path) -> None:
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_module')\n", encoding="utf-8")
    status, said = run(tmp_path, required=True)
    assert status != 0
    assert "TAXIWAY_REQUIRE_TOOLS=1 does not let this be skipped" in said

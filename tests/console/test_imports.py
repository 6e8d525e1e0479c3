"""Imports point one way: see the package console."""

import ast
from pathlib import Path

import pytest

from console.options import ROOT

OURS = {"console", "demos", "laptop", "cluster", "taxiway", "spark_jobs", "local_aws", "monitoring", "benchmarks"}
MAY_IMPORT = {
    "console": {"demos"},  # the folder, to discover what is in it; no demo by name
    "laptop": {"console", "taxiway", "spark_jobs"},
    "cluster": {"console"},
    "demos": {"console", "taxiway"},
}
MODULES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_its_package_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        first = name.split(".")[0]
        if first in OURS - {package}:
            assert first in MAY_IMPORT[package], name
        if first == "demos":
            pipeline = path.relative_to(ROOT).parts[1] if package == "demos" else None
            assert name == "demos" or name.split(".")[1] == pipeline, f"{name}: demos are discovered"


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(str(node.module))
    return names

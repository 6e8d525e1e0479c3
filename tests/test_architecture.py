"""Imports point one way: docs/adr/0013-packages.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ("core", "lake", "catalogue", "aws", "operations")
# What each shared package of dags/taxiway may import of the others.
MAY_IMPORT = {
    "core": set[str](),
    "lake": {"core"},
    "catalogue": {"core"},
    "aws": {"core"},
    "operations": {"core", "lake", "catalogue", "aws"},
}
# What code below a folder at the top of the repository may import of the others. Of demos, console imports the
# namespace alone, to discover what is in it; a demo imports what demos share, which are modules beside their folders.
TOP = {
    "dags": {"taxiway"},
    "spark_jobs": {"taxiway"},
    "local_aws": set[str](),
    "console": {"demos"},
    "demos": {"console", "taxiway", "services"},
    "laptop": {"console", "taxiway", "spark_jobs"},
    "local_kafka": {"console", "local_aws", "taxiway"},
    "cluster": {"console"},
    "monitoring": {"taxiway", "cluster", "console", "laptop"},
    "aws": {"taxiway"},
    "services": {"console", "local_kafka", "spark_jobs", "taxiway"},
}
OURS = {*TOP, "taxiway", "benchmarks", "checks", "contracts", "docs", "tests"} - {"dags"}


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a module imports anywhere, those within functions and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute here"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_imports(root: Path) -> list[str]:
    """Return every import that points the wrong way, a sentence each."""
    found = []
    packages = {folder.name for folder in (root / "dags/taxiway").iterdir() if (folder / "__init__.py").exists()}
    programs = {folder.name for folder in (root / "spark_jobs").iterdir() if (folder / "__init__.py").exists()}
    demos = {folder.name for folder in (root / "demos").iterdir() if folder.is_dir()}
    for file in sorted(path for top in TOP for path in (root / top).rglob("*.py")):
        name = file.relative_to(root)
        top, parts = name.parts[0], name.parts
        for module in imports_of(ast.parse(file.read_text())):
            first, second = (*module.split("."), "", "")[:2]
            if (
                first in OURS - TOP[top] - {"taxiway" if top == "dags" else top}
                or (top == "console" and first == "demos" and second)
                or (top == "demos" and first == "demos" and second in demos - {parts[1]})
            ):
                found.append(f"{name} imports {module}")
            elif parts[:2] == ("dags", "taxiway") and first == "taxiway" and second in packages and len(parts) > 3:
                own = parts[2]
                allowed = MAY_IMPORT.get(own, set(SHARED)) | {own}
                if second not in allowed:
                    found.append(f"{name} imports {module}")
            elif top == "spark_jobs" and first == "taxiway" and second not in ("core", ""):
                found.append(f"{name} imports {module}")
            elif top == "spark_jobs" and first == "spark_jobs" and second in programs:
                own = parts[1] if len(parts) > 2 else ""
                if own and second not in {"common", own}:
                    found.append(f"{name} imports {module}")
    return found


def test_imports_point_one_way() -> None:
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("dags/taxiway/core/new.py", "from taxiway.lake import Lake"),
        ("dags/taxiway/lake/new.py", "def f():\n    from taxiway.hvfhv.tables import TRIPS"),
        ("dags/taxiway/aws/new.py", "from taxiway import operations"),
        ("dags/taxiway/shop/new.py", "from taxiway.hvfhv import plan"),
        ("dags/taxiway/hvfhv/new.py", "import spark_jobs.publish"),
        ("spark_jobs/common/new.py", "from spark_jobs.hvfhv.marts import trend"),
        ("spark_jobs/shop/new.py", "from spark_jobs.hvfhv.marts import trend"),
        ("spark_jobs/hvfhv/new.py", "from taxiway.lake import Lake"),
        ("laptop/new.py", "from cluster.kubectl import Kubectl"),
        ("console/new.py", "from demos.hvfhv import DEMO"),
        ("console/new.py", "from taxiway.lake import Lake"),
        ("demos/shop/new.py", "from demos.hvfhv import DEMO"),
        ("demos/new.py", "from demos.hvfhv import DEMO"),
        ("local_aws/new.py", "from taxiway.core import month"),
        ("cluster/new.py", "import taxiway.lake"),
    ],
)
def test_an_import_against_the_arrows_is_found(file: str, line: str, tmp_path: Path) -> None:
    for package in ("core", "lake", "aws", "catalogue", "operations", "hvfhv", "shop"):
        (tmp_path / "dags/taxiway" / package).mkdir(parents=True)
        (tmp_path / "dags/taxiway" / package / "__init__.py").touch()
    for package in ("common", "hvfhv", "shop"):
        (tmp_path / "spark_jobs" / package).mkdir(parents=True)
        (tmp_path / "spark_jobs" / package / "__init__.py").touch()
    for top in TOP:
        (tmp_path / top).mkdir(exist_ok=True)
    for demo in ("hvfhv", "shop"):
        (tmp_path / "demos" / demo).mkdir()
    (tmp_path / file).write_text(line)
    assert any(sentence.startswith(f"{file} imports ") for sentence in wrong_imports(tmp_path))


def test_shared_code_names_no_pipeline() -> None:
    """A second pipeline needs no change to what is shared; one constant says which pipeline is the main one."""
    pipelines = {folder.name for folder in (ROOT / "contracts").iterdir() if folder.is_dir()}
    shared = [path for package in SHARED for path in (ROOT / "dags/taxiway" / package).rglob("*.py")]
    shared += [*(ROOT / "spark_jobs/common").rglob("*.py"), ROOT / "spark_jobs/publish.py"]
    named = []
    for file in shared:
        tree = ast.parse(file.read_text())
        documentation = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in documentation:
                named += [
                    (file.name, node.value) for pipeline in pipelines if re.search(rf"\b{pipeline}(_|\b)", node.value)
                ]
    assert named == [("pipelines.py", "hvfhv")]

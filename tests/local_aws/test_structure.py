"""The imports between the parts of local_aws, which its docstring describes."""

import ast
from pathlib import Path

import local_aws

ROOT = Path(local_aws.__path__[0])


def places() -> dict[str, int]:
    """Return the place of each part in the line of arrows, leftmost first."""
    assert local_aws.__doc__
    line = " ".join(line for line in local_aws.__doc__.splitlines() if "←" in line)
    return {part.strip(): place for place, parts in enumerate(line.split("←")) for part in parts.split(",")}


def imports() -> set[tuple[str, str]]:
    """Return the pairs (part, imported part) of all imports, those in functions included."""
    found = set()
    for path in ROOT.rglob("*.py"):
        importer = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} has a relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {(importer, name.split(".")[1]) for name in names if name.startswith("local_aws.")}
    return {(importer, imported) for importer, imported in found if importer != imported}


def test_every_part_has_a_place() -> None:
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts - {"__init__"} == places().keys()


def test_imports_point_to_the_left() -> None:
    place = places()
    assert [f"{a} imports {b}" for a, b in sorted(imports()) if place[b] >= place[a]] == []

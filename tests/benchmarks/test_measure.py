"""Figures are written to their place, or refused."""

from pathlib import Path

import pytest

from benchmarks import measure


@pytest.fixture
def readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "README.md"
    monkeypatch.setattr(measure, "README", file)
    return file


def test_figures_replace_those_of_the_same_command(readme: Path) -> None:
    others = "<!-- figures: b -->\n\nsecond\n\n<!-- end of figures -->\n"
    readme.write_text(f"Before\n<!-- figures: a -->\n\nold\n\n<!-- end of figures -->\nbetween\n{others}")
    measure.keep("a", "new")
    assert readme.read_text() == f"Before\n<!-- figures: a -->\n\nnew\n\n<!-- end of figures -->\nbetween\n{others}"


def test_figures_without_a_place_are_refused_and_the_file_stays(readme: Path) -> None:
    readme.write_text("Before\n")
    with pytest.raises(ValueError, match="has no line <!-- figures: a -->"):
        measure.keep("a", "new")
    assert readme.read_text() == "Before\n"

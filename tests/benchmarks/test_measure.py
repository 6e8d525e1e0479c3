"""Figures are written to their place, or refused."""

import sys
from pathlib import Path

import pytest

from benchmarks import measure
from local_aws.engines import Launch


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


def test_what_a_program_prints_of_its_parts_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print('trips: 1.0 s'); sys.stderr.write('a warning')"
    cost = measure.run(Launch([sys.executable, "-c", program], {}, tmp_path))
    assert cost.seconds > 0
    assert capsys.readouterr().err == "  trips: 1.0 s\n"


def test_program_that_fails_ends_the_benchmark_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with status 1:\nno such month"):
        measure.run(Launch([sys.executable, "-c", "raise SystemExit('no such month')"], {}, tmp_path))

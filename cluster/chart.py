"""The official Airflow chart: one version, known by its checksum, kept outside the repository."""

import hashlib
import os
import tempfile
from pathlib import Path

from cluster.shell import last_lines, run
from console.errors import UserError

VERSION = "1.22.0"
SHA256 = "1f7d1dfe3d58e2c54899950aba907a43625a18c8b6fb3c54760c21592129a5b6"
REPOSITORY = "https://airflow.apache.org"


def chart_path() -> str:
    """Return where the chart is: ``$CHART`` (a file or folder), or our copy, which is fetched where it is missing.

    Raises:
        UserError: it is not there and cannot be fetched, or is not the one that the overlay was made for.
    """
    if given := os.environ.get("CHART"):
        if not Path(given).exists():
            raise UserError(f"CHART={given} does not exist: give the packed or unpacked chart {VERSION}, or nothing.")
        return given
    kept = Path.home() / f".cache/taxiway/airflow-{VERSION}.tgz"
    if not kept.exists():
        _fetch(kept)
    _check(kept)
    return str(kept)


def _fetch(kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        result = run(
            ["helm", "pull", "airflow", "--repo", REPOSITORY, "--version", VERSION, "--destination", folder],
            seconds=180,
        )
        file = Path(folder) / kept.name
        if result.returncode or not file.exists():
            raise UserError(
                f"The Airflow chart {VERSION} cannot be downloaded from {REPOSITORY} ({last_lines(result.stderr, 1)}): "
                f"put airflow-{VERSION}.tgz into {kept.parent}, or set CHART=<file>."
            )
        _check(file)
        file.replace(kept)


def _check(file: Path) -> None:
    if hashlib.sha256(file.read_bytes()).hexdigest() != SHA256:
        raise UserError(
            f"{file} is not the Airflow chart {VERSION} that the overlay was made for (its SHA-256 differs): delete it "
            "to have it fetched again, or set CHART=<file> to use another on purpose."
        )

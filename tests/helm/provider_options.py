"""Writes provider_options.json: which configuration the image's providers know, by their own description.

    python -m tests.helm.provider_options

The providers are fetched from PyPI in the versions of requirements/airflow-image.txt, without what they depend on.
"""

import json
import re
import runpy
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("amazon", "celery", "cncf-kubernetes", "common-io", "fab", "standard")


def main() -> None:
    """Fetch the providers and write the list."""
    locked = dict(
        re.findall(
            r"^(apache-airflow-providers-[a-z-]+)==(\S+)",
            (ROOT / "requirements/airflow-image.txt").read_text(),
            re.MULTILINE,
        )
    )
    packages = [f"apache-airflow-providers-{name}" for name in NAMES]
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        wanted = [f"{package}=={locked[package]}" for package in packages]
        uv = ROOT / ".local/venvs/uv/bin/uv"
        subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", folder, *wanted], check=True)
        for name, package in zip(NAMES, packages, strict=True):
            info = Path(folder) / "airflow/providers" / name.replace("-", "/") / "get_provider_info.py"
            config = runpy.run_path(str(info))["get_provider_info"]().get("config") or {}
            result[package] = {
                "version": locked[package],
                "options": {section: sorted(body["options"]) for section, body in sorted(config.items())},
            }
    file = ROOT / "tests/helm/provider_options.json"
    file.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

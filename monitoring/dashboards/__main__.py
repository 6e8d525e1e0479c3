"""Writes the dashboards' JSON: ``python -m monitoring.dashboards``."""

import sys

from monitoring.dashboards import FOLDER, DashboardError, texts

FOLDER.mkdir(parents=True, exist_ok=True)
try:
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
except DashboardError as error:
    sys.exit(str(error))

"""Writes the dashboards' JSON: ``python -m monitoring.dashboards``."""

from monitoring.dashboards import FOLDER, texts

FOLDER.mkdir(parents=True, exist_ok=True)
for name, text in texts().items():
    (FOLDER / name).write_text(text, encoding="utf-8")

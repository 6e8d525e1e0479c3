"""Grafana's dashboards: a module each, and the JSON made of them in ``helm/monitoring/dashboards/``.

Every module here that defines a ``page`` is a dashboard. ``python -m monitoring.dashboards`` writes the JSON; a test
compares both.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from monitoring.dashboards.build import Page

FOLDER = Path(__file__).parents[2] / "helm" / "monitoring" / "dashboards"


def _pages() -> dict[str, Page]:
    names = [each.name for each in iter_modules(__path__) if not each.name.startswith("_")]
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name.replace("_", "-"): module.page for name, module in modules.items() if hasattr(module, "page")}


PAGES = _pages()


class DashboardError(ValueError):
    """A dashboard does not fit beside the others; the text is one clear sentence."""


def texts(pages: Mapping[str, Page] = PAGES) -> dict[str, str]:
    """Return what each file in :data:`FOLDER` is to hold, by its name.

    Raises:
        DashboardError: two dashboards have one uid, of which Grafana would keep one.
    """
    owners: dict[str, str] = {}
    for name, page in pages.items():
        if (other := owners.setdefault(page.uid, name)) != name:
            raise DashboardError(
                f"The dashboards {other} and {name} both have the uid {page.uid!r}: change one of them."
            )
    return {f"{name}.json": page.text(list(pages.values())) for name, page in pages.items()}

"""The page as one self-contained HTML file: no network, no other file."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from taxiway.core.s3 import split
from taxiway.core.settings import Settings
from taxiway.data_docs.gathering import Page
from taxiway.operations import pages

PATH = "reports/data-docs/index.html"  # below the lake
_HERE = Path(__file__).parent


def render(page: Page) -> str:
    """Return the page; equal data give an equal page."""
    graph = {"nodes": page.nodes, "edges": page.edges}
    return _template().render(
        page=page,
        pipelines=sorted({table["pipeline"] for table in page.tables}),
        unowned=[table["name"] for table in page.tables if not table["owners"]],
        late=[table["name"] for table in page.tables if table["published"] and table["published"]["late_by"]],
        failing=[table["name"] for table in page.tables if any(not check["passed"] for check in table["checks"])],
        troubled=[table["name"] for table in page.tables if any(_is_open(each) for each in table["incidents"])],
        # Within <script>, where no entity is known: "<" alone could end it.
        graph=Markup(json.dumps(graph, sort_keys=True).replace("<", "\\u003c")),  # noqa: S704
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - a file of this package
        javascript=Markup((_HERE / "page.js").read_text(encoding="utf-8")),  # noqa: S704 - a file of this package
    )


def write(page: Page, settings: Settings, s3: object) -> str:
    """Write the page to ``<lake>/reports/data-docs/index.html``; return its address."""
    uri = f"{settings.lake}/{PATH}"
    bucket, key = split(uri)
    body = render(page).encode()
    content = {"ContentType": "text/html; charset=utf-8", "CacheControl": "no-cache"}
    s3.put_object(Bucket=bucket, Key=key, Body=body, **content)  # type: ignore[attr-defined]
    return uri


@lru_cache
def _template() -> jinja2.Template:
    environment = pages.environment(_HERE)
    environment.filters |= {
        "moment": _moment,
        "size": _size,
        "count": "{:,}".format,
        "is_open": _is_open,
        "code": _code,
    }
    return environment.get_template("page.html.j2")


def _is_open(incident: Mapping[str, object]) -> bool:
    return incident["state"] == "open"


def _moment(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "–"


def _code(text: str) -> Markup:
    """Return a contract's text with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def _size(number: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:,.1f} {unit}"
    return f"{number} B"

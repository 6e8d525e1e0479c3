from collections.abc import Callable, Iterable
from typing import Any

import pytest
import yaml

from monitoring.exporter import Page, ProgramError, exporter
from tests.helm.rendering import render


@pytest.fixture(scope="session")
def mappings() -> str:
    """The exporter's mappings, as the overlay renders them."""
    return str(render("kind").named("ConfigMap", "airflow-statsd")["data"]["mappings.yml"])


@pytest.fixture(scope="session")
def rules(mappings: str) -> Any:
    """The same, parsed: a test that changes them takes a copy."""
    return yaml.safe_load(mappings)


@pytest.fixture(scope="session")
def page_of(mappings: str) -> Callable[..., Page]:
    """What the exporter shows of some lines."""

    def page(lines: Iterable[str], text: str = mappings) -> Page:
        try:
            with exporter(text) as running:
                running.send(lines)
                return running.page()
        except ProgramError as error:
            if "is not on the PATH" not in str(error):
                raise
            pytest.skip(str(error))

    return page

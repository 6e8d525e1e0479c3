import pytest
import yaml

from monitoring.exporter import ProgramError, exporter
from tests.helm.rendering import render


@pytest.fixture(scope="session")
def mappings() -> str:
    """The exporter's mappings, as the overlay renders them."""
    return render("kind").named("ConfigMap", "airflow-statsd")["data"]["mappings.yml"]


@pytest.fixture(scope="session")
def rules(mappings):
    """The same, parsed: a test that changes them takes a copy."""
    return yaml.safe_load(mappings)


@pytest.fixture(scope="session")
def page_of(mappings):
    """What the exporter shows of some lines."""

    def page(lines, text=mappings):
        try:
            with exporter(text) as running:
                running.send(lines)
                return running.page()
        except ProgramError as error:
            if "is not on the PATH" not in str(error):
                raise
            pytest.skip(str(error))

    return page

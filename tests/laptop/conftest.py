"""A platform for each test file of this folder."""

from collections.abc import Iterator

import pytest

from console.ports import free_port
from laptop.config import Config
from tests.laptop.person import Person


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    python = Config.from_environment({}).python("airflow")
    if not python.exists():
        pytest.skip("the environment of Airflow is not installed: make setup")
    person = Person(tmp_path_factory.mktemp("platform"), free_port(), free_port())
    yield person
    for process in person.processes():
        process.kill()

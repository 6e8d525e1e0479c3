"""Endpoints for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local_aws.endpoint import Endpoint


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint that all tests share: each uses buckets and names of its own."""
    shared = Endpoint(tmp_path_factory.mktemp("aws"), "--max-steps", "4", "--step-memory", "3g").start()
    yield shared
    shared.close()


@pytest.fixture
def new_endpoint(tmp_path: Path) -> Iterator[Callable[..., Endpoint]]:
    """Make an endpoint that one test may stop and start again."""
    made: list[Endpoint] = []

    def make(*options: str) -> Endpoint:
        made.append(Endpoint(tmp_path / f"aws{len(made)}", *options))
        return made[-1]

    yield make
    for each in made:
        each.close()

"""Endpoints for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local_aws.endpoint import Endpoint


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint that the tests of a module share."""
    one = Endpoint(tmp_path_factory.mktemp("aws"), "--max-steps", "4").start()
    yield one
    one.close()


@pytest.fixture
def new_endpoint(tmp_path: Path) -> Iterator[Callable[..., Endpoint]]:
    """Make an endpoint that one test may end and start again."""
    made: list[Endpoint] = []

    def make(*options: str) -> Endpoint:
        made.append(Endpoint(tmp_path / f"aws{len(made)}", *options))
        return made[-1]

    yield make
    for one in made:
        one.close()

"""One small cloud, and a server in front of it."""

from collections.abc import Iterator

import pytest

from sdk_contract.clouds.app import App
from sdk_contract.clouds.server import Server
from tests.clouds.notes import Notes


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def app(notes: Notes) -> Iterator[App]:
    made = App([notes.routes])
    yield made
    made.close()


@pytest.fixture
def server(app: App) -> Iterator[Server]:
    with Server(app) as made:
        yield made

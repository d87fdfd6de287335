"""A server and a worker of the shop; each test has a dispatcher."""

from collections.abc import AsyncIterator, Iterator

import pytest

from dispatcher import Dispatcher, Settings
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.conftest import pytest_runtest_makereport  # noqa: F401 - shows the worker's log with a failure
from tests.acceptance.helpers import QUICK_SETTINGS, Marks, Worker
from tests.fundamentals.shop import registry


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a server with a worker. In development `Settings.load()` does: it starts a server where none is named."""
    folder = tmp_path_factory.mktemp("shop")
    with EmbeddedServer(folder / "server") as server:
        settings = Settings.load(url=server.url, **QUICK_SETTINGS)
        with Worker(settings, Marks(folder), app="tests.fundamentals.worker_app"):
            yield settings


@pytest.fixture
async def dispatcher(settings: Settings) -> AsyncIterator[Dispatcher]:
    async with Dispatcher(registry, settings=settings) as started:
        yield started

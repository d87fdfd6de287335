"""Real parts: a server of our own, worker processes, and a dispatcher in the test's own event loop."""

import gc
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from uuid import uuid4

import pytest
import redis
from celery import Celery

from dispatcher import Dispatcher, Settings
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.functions import registry
from tests.acceptance.helpers import QUICK_SETTINGS, Marks, Worker, lasting_keys


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for worker in Worker.live:
            report.sections.append((f"log of {worker.log.name}", worker.tail()))
    return report


@pytest.fixture(scope="session")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Marks:
    """What the functions of all workers leave behind."""
    return Marks(tmp_path_factory.mktemp("marks"))


@pytest.fixture
def label() -> str:
    """A name for the marks of this test."""
    return uuid4().hex[:12]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The server of the tests that harm none."""
    with EmbeddedServer(tmp_path_factory.mktemp("server")) as running:
        yield running
        with connect(running.url, role="test") as client:
            assert list(lasting_keys(client)) == []


@pytest.fixture(scope="session")
def settings(server: EmbeddedServer) -> Settings:
    return Settings.load(url=server.url, **QUICK_SETTINGS)


@pytest.fixture(scope="session")
def worker(settings: Settings, marks: Marks) -> Iterator[Worker]:
    """The worker of the tests that harm none."""
    with Worker(settings, marks) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    with connect(server.url, role="test") as connected:
        yield connected


@pytest.fixture
async def dispatcher(settings: Settings, worker: Worker) -> AsyncIterator[Dispatcher]:
    """A producer, with a worker behind it."""
    async with Dispatcher(registry, settings=settings) as started:
        yield started


@pytest.fixture
def plain(server: EmbeddedServer, worker: Worker) -> Iterator[Celery]:
    """A Celery app that knows nothing of us but the address."""
    app = Celery("plain", broker=server.url, backend=server.url, set_as_current=False)
    with app:
        yield app
    # A Celery result that is still referred to (by an exception's frames, say) unsubscribes when it is collected: over a
    # connection of its own, which nobody closes, and trying for long if the server is gone by then.
    gc.collect()
    app.backend.result_consumer.subscribed_to.clear()
    app.backend.result_consumer.stop()
    app.backend.client.connection_pool.disconnect()


@pytest.fixture(scope="module")
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server of the module's own, whose workers its tests start and kill."""
    with EmbeddedServer(tmp_path_factory.mktemp("own")) as running:
        yield Settings.load(url=running.url, **QUICK_SETTINGS)


@pytest.fixture
def own_client(own_settings: Settings) -> Iterator[redis.Redis]:
    with connect(own_settings.url.get_secret_value(), role="test") as connected:
        yield connected


@pytest.fixture
async def own_dispatcher(own_settings: Settings) -> AsyncIterator[Dispatcher]:
    """A producer on the module's own server. Nobody works for it yet."""
    async with Dispatcher(registry, settings=own_settings) as started:
        yield started


@pytest.fixture
def start_worker(marks: Marks) -> Iterator[Callable[..., Worker]]:
    """Start workers that end with the test."""
    started: list[Worker] = []

    def start(settings: Settings, *options: str, wait: bool = True, **rest: str) -> Worker:
        worker = Worker(settings, marks, *options, **rest)
        started.append(worker)
        return worker.start(wait=wait)

    yield start
    for worker in started:
        worker.end()

"""What tests on a real server share: one server for the whole run, and a corner of its keys for each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from dispatcher.settings import Settings
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.integration.ledger_rig import Rig


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running server of our own. Shared by all tests: who wants to kill, fill or configure one starts another."""
    with EmbeddedServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of a file's own, that its tests may fill."""
    with EmbeddedServer(tmp_path_factory.mktemp("filled"), persist=False) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    """A plain client of that server."""
    with connect(server.url, role="test") as connected:
        yield connected


@pytest.fixture
def namespace() -> str:
    """A namespace nobody else uses, for `Settings(namespace=…)`: tests do not see each other's jobs."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def rig(client: redis.Redis, namespace: str) -> Iterator[Rig]:
    """A ledger of one's own. Whatever a test does with it, nothing of it may stay for ever."""
    made = Rig(client, Settings(namespace=namespace))
    yield made
    assert made.keys_without_ttl() == []

"""What the suites share: one server for the whole run, and a namespace for each test."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from dispatcher.settings import Settings
from dispatcher.transport.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server"), persist=False) as running:
        yield running


@pytest.fixture
def settings() -> Settings:
    return Settings(namespace=f"test-{uuid4().hex[:12]}")

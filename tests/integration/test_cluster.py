"""A server that is a Redis Cluster of one: whatever one script touches must live in one slot."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from dispatcher import Dispatcher, Registry, Settings
from dispatcher.errors import ServerUnusableError
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance.helpers import eventually
from tests.integration.ledger_rig import Rig, succeeded

SLOTS = 16_384

registry = Registry()


@registry.function
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("cluster"), config={"cluster-enabled": "yes"}) as server:
        with connect(server.url) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(SLOTS))
            eventually(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        yield server


async def test_a_namespace_with_its_prefix_before_results_is_in_one_slot(cluster: EmbeddedServer) -> None:
    settings = Settings(url=cluster.url, namespace="prod", result_prefix="{prod}:")
    with connect(cluster.url) as client:
        rig = Rig(client, settings)
        async with Dispatcher(registry, settings=settings) as producer:
            job = await producer.dispatch(add.call(1, 2))
            assert rig.settle(job.id, rig.leased(job.id).token, succeeded("3")) == "settled"
            assert await job.result(timedelta(seconds=10)) == 3


async def test_the_default_namespace_whose_queues_have_no_prefix_is_refused(cluster: EmbeddedServer) -> None:
    settings = Settings(url=cluster.url, result_prefix="{dispatcher}:")
    async with Dispatcher(registry, settings=settings) as producer:
        with pytest.raises(ServerUnusableError, match="a cluster"):
            await producer.dispatch(add.call(1, 2))

"""A deployment under a namespace of its own, beside another on the same server: real workers, events and remote control."""

from collections.abc import Callable

import redis

from dispatcher import Dispatcher, Settings
from dispatcher.transport.app import create_app
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Worker, soon


async def test_a_second_deployment_on_the_same_server_runs_its_own_jobs_only(
    server: EmbeddedServer, worker: Worker, client: redis.Redis, start_worker: Callable[..., Worker]
) -> None:
    own = Settings(url=server.url, namespace="second", **{**QUICK_SETTINGS, "republish_grace_seconds": 60})
    async with Dispatcher(functions.registry, settings=own) as dispatcher:
        waiting = [await dispatcher.dispatch(functions.add.call(number)) for number in range(20)]
        await dispatcher.flush()
        assert client.llen("{second}:queue:default") == 20, "the first deployment's worker is up, and leaves them alone"
        second = start_worker(own)
        assert [await handle.result(LONG) for handle in waiting] == list(range(20))
    app = create_app(own, server.url, functions.registry)
    with app:
        names = await soon(lambda: list(app.control.inspect(timeout=1).ping() or {}))
    assert names == [f"{second.log.stem}@test"], "remote control reaches its own workers, and no others"

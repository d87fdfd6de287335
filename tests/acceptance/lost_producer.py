"""A producer that dies between accepting a job and publishing its wake-up: `python -m tests.acceptance.lost_producer LABEL`.

It takes the broker for another server than the ledger's: else the script that accepts publishes too.
"""

import asyncio
import os
import signal
import sys

from dispatcher import Dispatcher
from dispatcher.client import connection
from dispatcher.transport.publisher import Publisher
from tests.acceptance.functions import hold, registry


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(label: str) -> None:
    connection.list_prefix = lambda _: None
    Publisher.put = die
    async with Dispatcher(registry) as dispatcher:
        await dispatcher.dispatch(hold.call(label, 0), idempotency_key=label)
        sys.stdout.write("still alive")


asyncio.run(main(sys.argv[1]))

"""Functions on the machine that the worker runs on."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

from dispatcher import RetryPolicy
from tasks.shared import registry


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that answers."""

    port: int
    connected_in_ms: float


@registry.function(
    name="system.check_service",
    tags={"network", "health"},
    timeout=timedelta(seconds=5),
    # A service that is just starting refuses for a moment.
    retry=RetryPolicy(
        max_attempts=3,
        first_wait=timedelta(milliseconds=200),
        longest_wait=timedelta(seconds=1),
        on=(ConnectionError, TimeoutError),
    ),
    examples=(
        "is anything listening on port 8080?",
        "check whether the database service is up",
        "can you reach the local server",
        "检查本机3306端口是否开放",
        "服务启动了吗",
    ),
)
async def check_service(port: int) -> Service:
    """Check that a service on the worker's own machine accepts connections on a port.

    Only the loopback address is ever asked, so that no caller can look around a network with it.

    Args:
        port: the TCP port, 1 to 65535.

    Raises:
        ValueError: if the port is out of range.
        ConnectionError: if nothing listens there; tried three times.
        TimeoutError: if it does not answer within two seconds; tried three times.
    """
    if not 1 <= port <= 65_535:  # noqa: PLR2004 - the largest there is
        msg = f"port must be 1 to 65535, not {port}"
        raise ValueError(msg)
    begun = time.monotonic()
    async with asyncio.timeout(2):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    elapsed = time.monotonic() - begun
    writer.close()
    await writer.wait_closed()
    return Service(port=port, connected_in_ms=round(elapsed * 1000, 3))

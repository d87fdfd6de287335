"""The asyncio clients of `connection`, in a file of their own: most workers never make one.

redis-py's asyncio side takes 1.3 MB in each of a node's processes (benchmark: idle).
"""

from collections.abc import Mapping
from typing import Any

import hiredis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff


class _PacksInC:
    """What asyncio connections send is packed in C by hiredis; redis-py does it in Python, which is slow."""

    def pack_command(self, *args: Any) -> list[Any]:  # noqa: ANN401 - redis-py's signature
        if isinstance(args[0], str) and " " not in args[0]:
            return [hiredis.pack_command(args)]
        packed: list[Any] = super().pack_command(*args)  # type: ignore[misc]  # of the connection it is mixed into
        return packed


class _TCPConnection(_PacksInC, redis.asyncio.Connection):
    pass


class _TLSConnection(_PacksInC, redis.asyncio.SSLConnection):
    pass


class _UnixConnection(_PacksInC, redis.asyncio.UnixDomainSocketConnection):
    pass


_KINDS = _TCPConnection, _TLSConnection, _UnixConnection


def make_client(
    kind: int, options: Mapping[str, Any], *, max_connections: int, timeout_seconds: float
) -> redis.asyncio.Redis:
    """Make a client.

    Args:
        kind: 0: TCP, 1: TLS, 2: Unix socket.
        options: of its connections.
        max_connections: callers beyond that wait for a free one.
        timeout_seconds: for as long.
    """
    pool = redis.asyncio.BlockingConnectionPool(
        max_connections=max_connections,
        timeout=timeout_seconds,
        connection_class=_KINDS[kind],
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
        **options,
    )
    return redis.asyncio.Redis.from_pool(pool)

"""Clients of the server, sync and asyncio, made in one place so that all of them time out and identify alike.

The names that other rooms need around a connection (addresses, errors, facts) can be imported from here too.
"""

import re
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dispatcher.errors import SettingsError
from dispatcher.transport.address import ServerAddress, kombu_url, redact
from dispatcher.transport.facts import MINIMUM_VERSION, ServerFacts, check_server
from dispatcher.transport.failure import refused, server_errors, translate

if TYPE_CHECKING:
    from redis.asyncio import Redis as AsyncRedis

__all__ = [
    "MINIMUM_VERSION",
    "ServerAddress",
    "ServerFacts",
    "check_server",
    "connect",
    "connect_async",
    "kombu_url",
    "redact",
    "refused",
    "server_errors",
    "translate",
]

#: A server that does not take a connection by then is not there.
CONNECT_TIMEOUT_SECONDS: Final = 2.0
#: The longest a command that does not block may take: our scripts take well under a millisecond.
ANSWER_TIMEOUT_SECONDS: Final = 5.0
#: A connection idle for longer is pinged before it is used again.
HEALTH_CHECK_SECONDS: Final = 30
#: Connections a client may open; more callers than that wait for one, as long as for an answer.
MAX_CONNECTIONS: Final = 64
#: Has a new connection not tell the server redis-py's name and version: that takes two round trips, and a look into the
#: installed packages each time. The names before and since redis-py 7.2.
NO_DRIVER_INFO: Final[Mapping[str, None]] = MappingProxyType(
    {"driver_info": None} if hasattr(redis, "DriverInfo") else {"lib_name": None, "lib_version": None}
)
#: Find a dead peer within about half a minute, on a connection that waits without a timeout: first probe after 15 s
#: of silence, then every 5 s, given up after 3.
_KEEPALIVE_SECONDS = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_KEEPALIVE_OPTIONS = MappingProxyType(
    {getattr(socket, name): value for name, value in _KEEPALIVE_SECONDS.items() if hasattr(socket, name)}
)


def connect(
    url: str, *, blocking: bool = False, role: str = "client", max_connections: int = MAX_CONNECTIONS
) -> redis.Redis:
    """Make a client; nothing is sent before the first command.

    It never repeats a command by itself: redis-py would retry for a minute behind the caller's deadline. Our scripts
    are safe to repeat, and who calls them knows how long. It speaks RESP2, so that answers have one shape on all
    versions of redis-py, and no command beyond AUTH, SELECT and the client's name is spent on a new connection.

    Args:
        url: `redis://`, `rediss://`, `redis+socket://` and the spellings of redis-py and valkey-py.
        blocking: for BRPOP and the like: waits for an answer without end. A dead peer is found by TCP keepalive.
        role: shows in the server's CLIENT LIST as `dispatcher-<role>`.
        max_connections: callers beyond that wait for a free one.

    Raises:
        SettingsError: the URL cannot be used.
    """
    options = _options(url, blocking=blocking, role=role)
    kinds = redis.Connection, redis.SSLConnection, redis.UnixDomainSocketConnection
    pool = redis.BlockingConnectionPool(
        max_connections=max_connections,
        timeout=ANSWER_TIMEOUT_SECONDS,
        connection_class=kinds[_kind(options)],
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return redis.Redis.from_pool(pool)  # from_pool: closing the client closes its connections


def connect_async(
    url: str, *, blocking: bool = False, role: str = "client", max_connections: int = MAX_CONNECTIONS
) -> "AsyncRedis":
    """Make an asyncio client, otherwise as `connect`. It belongs to the event loop that first uses it.

    Raises:
        SettingsError: the URL cannot be used.
    """
    from dispatcher.transport.asyncio_connections import make_client  # noqa: PLC0415 - most workers need none

    options = _options(url, blocking=blocking, role=role)
    return make_client(_kind(options), options, max_connections=max_connections, timeout_seconds=ANSWER_TIMEOUT_SECONDS)


def _options(url: str, *, blocking: bool, role: str) -> dict[str, Any]:
    """What redis-py's connections are made with, in its words."""
    if re.fullmatch(r"[a-z0-9._-]{1,40}", role) is None:
        message = f"a client's role is a short word of a-z 0-9 . _ -, not {role!r}"
        raise SettingsError(message)
    address = ServerAddress.parse(url)
    given = address.options
    answer_seconds = float(given.get("socket_timeout", ANSWER_TIMEOUT_SECONDS))
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "client_name": f"dispatcher-{role}",
        **NO_DRIVER_INFO,
        "protocol": 2,
        "decode_responses": False,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "socket_connect_timeout": float(given.get("socket_connect_timeout", CONNECT_TIMEOUT_SECONDS)),
        "socket_timeout": None if blocking else answer_seconds,
    }
    if address.socket_path is not None:
        return options | {"path": address.socket_path}
    options |= {
        "host": address.host,
        "port": address.port,
        "socket_keepalive": True,
        "socket_keepalive_options": dict(_KEEPALIVE_OPTIONS),
    }
    if address.tls:
        files = {name: given[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if name in given}
        check = address.certificate_check
        # Python's ssl refuses to check the name in a certificate that it does not check.
        check_name = check != "none" and given.get("ssl_check_hostname", "true").lower() not in ("false", "no", "0")
        options |= files | {"ssl_cert_reqs": check, "ssl_check_hostname": check_name}
    return options


def _kind(options: Mapping[str, object]) -> int:
    """0: TCP, 1: TLS, 2: Unix socket."""
    return 2 if "path" in options else 1 if "ssl_cert_reqs" in options else 0

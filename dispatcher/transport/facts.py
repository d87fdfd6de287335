"""What the server is and how it is set up: what `doctor` looks at, and what is refused at the start."""

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from dispatcher.errors import ServerUnusableError
from dispatcher.transport.failure import SERVER_FAILURES, server_errors

if TYPE_CHECKING:
    import redis
    import redis.asyncio

logger = logging.getLogger(__name__)

#: Celery 5.7 asks for 6.2, and our scripts use commands that came with it. Every Valkey is newer.
MINIMUM_VERSION: Final = (6, 2, 0)
#: What any other policy does, and what to do about it.
EVICTION_ADVICE: Final = "it may throw jobs and messages away: set `maxmemory-policy noeviction` there"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFacts:
    """What a server says of itself. None where it does not let us ask (CONFIG is often forbidden)."""

    #: Without its password.
    address: str
    kind: Literal["valkey", "redis"]
    #: Its own version: 9.1.2 for a Valkey, which calls itself Redis 7.2.4 besides.
    version: tuple[int, ...]
    #: Whether every write is logged to disk (append-only file).
    aof_enabled: bool | None
    #: How often that log reaches the disk: always, everysec or no.
    appendfsync: str | None
    #: 0 means no limit but the machine's.
    maxmemory_bytes: int | None
    #: What it does when it is full; see `evicts`.
    maxmemory_policy: str | None
    used_memory_bytes: int | None
    role: Literal["master", "slave", "unknown"]
    cluster_enabled: bool
    #: Whether a client without a password is turned away.
    auth_required: bool | None


def check_server(client: "redis.Redis") -> ServerFacts:
    """Ask the server what it is.

    Raises:
        ServerUnusableError: it is older than Redis 6.2.
        ServerError: it does not answer, or does not let us in.
    """
    address = address_of(client)
    with server_errors(address):
        info: dict[str, Any] = client.info()
        config = _read_config(client)
        auth_required = _is_auth_required(client)
    speaks = _version(info.get("redis_version", "0"))
    own = _version(info.get("valkey_version", info.get("redis_version", "0")))
    if speaks < MINIMUM_VERSION:
        wanted, found = (".".join(map(str, version)) for version in (MINIMUM_VERSION[:2], own))
        raise ServerUnusableError(address, f"the server is Redis {found}; Dispatcher needs Redis ≥ {wanted} or Valkey")
    aof, role = info.get("aof_enabled"), info.get("role")
    return ServerFacts(
        address=address,
        kind="valkey" if "valkey_version" in info or info.get("server_name") == "valkey" else "redis",
        version=own,
        aof_enabled=bool(aof) if aof is not None else None,
        appendfsync=config.get("appendfsync"),
        maxmemory_bytes=_whole(info.get("maxmemory")),
        maxmemory_policy=info.get("maxmemory_policy"),
        used_memory_bytes=_whole(info.get("used_memory")),
        role=role if role in ("master", "slave") else "unknown",
        cluster_enabled=bool(info.get("cluster_enabled", 0)),
        auth_required=auth_required,
    )


def evicts(policy: str) -> bool:
    """Whether a full server with this `maxmemory-policy` throws away what it holds, and does not refuse what is new."""
    return policy != "noeviction"


def warn_of_eviction(client: "redis.Redis") -> None:
    """Say in the log that the server may lose accepted calls in silence; say nothing where it cannot be asked."""
    try:
        info: dict[str, Any] = client.info("memory")
    except SERVER_FAILURES as error:
        logger.debug("eviction_not_known: %s", error, extra={"reason": str(error)})
        return
    policy = info.get("maxmemory_policy")
    # Without a limit nothing is thrown away; who does not tell it may have one.
    if policy is not None and evicts(policy) and info.get("maxmemory") != 0:
        fields = {"address": address_of(client), "policy": policy}
        logger.warning("server_evicts: %s", EVICTION_ADVICE, extra=fields)


def address_of(client: "redis.Redis | redis.asyncio.Redis") -> str:
    """Which server a client talks to, without its password."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"redis+socket://{options['path']}"
    host = str(options.get("host", "localhost"))
    shown = f"[{host}]" if ":" in host else host
    scheme = "rediss" if "ssl_cert_reqs" in options else "redis"
    return f"{scheme}://{shown}:{options.get('port', 6379)}/{options.get('db', 0)}"


def _read_config(client: "redis.Redis") -> dict[str, str]:
    """The settings that INFO does not tell; empty where CONFIG is forbidden or renamed away, as hosted servers do."""
    try:
        answer: Any = client.config_get("appendfsync")
    except (NoPermissionError, ResponseError):
        return {}
    return {_text(name): _text(value) for name, value in answer.items()}


def _is_auth_required(client: "redis.Redis") -> bool | None:
    """Knock without a password: CONFIG's `requirepass` would not tell what an ACL file says, and is a secret."""
    pool = client.connection_pool
    secrets = ("username", "password", "credential_provider")
    stranger = pool.connection_class(**{k: v for k, v in pool.connection_kwargs.items() if k not in secrets})
    try:
        stranger.connect()
        stranger.send_command("PING", check_health=False)
        stranger.read_response()
    except AuthenticationError:
        return True
    except ResponseError:
        return True  # DENIED (protected mode), NOPERM: turned away all the same
    except (RedisError, OSError):
        return None
    else:
        return False
    finally:
        stranger.disconnect()


def _version(text: object) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", _text(text))[:3])


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

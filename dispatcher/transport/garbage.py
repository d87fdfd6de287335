"""Where garbage goes: into the ledger's dead letters, with the reason."""

import logging
import uuid
from dataclasses import dataclass
from typing import Final

import redis
from redis.exceptions import RedisError

from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.script import Command

logger = logging.getLogger(__name__)

#: How much of a message is kept: enough to see where it came from.
KEPT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class GarbageSink:
    """Writes garbage into the dead letters, as hashes `{namespace}:job:garbage-…` of the state `garbage`."""

    #: Must not put a prefix before keys: the ledger's keys have their own.
    client: redis.Redis
    namespace: str
    #: How long a dead letter is kept.
    ttl_seconds: int
    #: Dead letters kept, jobs among them; the oldest go first.
    max_dead: int

    def record_garbage(self, queue: str, raw: bytes, reason: str) -> None:
        """Keep a message and the reason it was refused. A server that refuses costs the dead letter, not the worker."""
        args = (
            f"garbage-{uuid.uuid4().hex}",
            queue,
            reason,
            raw[:KEPT_BYTES],
            len(raw),
            self.ttl_seconds * 1000,
            self.max_dead,
        )
        try:
            Ledger(self.client).run(Command("garbage", (Keys(self.namespace).prefix,), args, bool))
        except (RedisError, OSError) as error:
            logger.exception(
                "garbage_not_recorded: %s", reason, extra={"queue": queue, "bytes": len(raw), "error": str(error)}
            )

"""What was said of selections, in a stream on the server: one order for all producers.

An entry is one field, `entry`, of JSON text:

    {"v": 1, "producer": "…", "feedback": {"text": "…", "verdict": "right", "function": "…", "weight": 1.0,
                                           "source": "…", "previous_function": "…", "topic": "…"}}

Its position is the stream's own id, which begins with the server's time. So a position stays good where the stream
was trimmed, has ended, or was lost with the server's data: what is said afterwards stands after it.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final, Literal

import redis.asyncio
from pydantic import BaseModel, ConfigDict, ValidationError

from dispatcher.errors import Acceptance, FeedbackRefusedError
from dispatcher.selection.feedback import Entry, Feedback
from dispatcher.settings import Settings
from dispatcher.transport.connection import server_errors
from dispatcher.transport.facts import address_of
from dispatcher.transport.keys import Keys
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.script import Command, text_of

logger = logging.getLogger(__name__)

VERSION: Final = 1
#: The time in which a source may give `feedback_per_source` feedbacks.
WINDOW: Final = timedelta(minutes=1)
#: Of one entry: the longest text that a selector reads, in the widest characters, and as much again.
MAX_ENTRY_BYTES: Final = 32 * 1024

_FIELD: Final = b"entry"
_POSITION: Final = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?", re.ASCII)
#: Parts of a stream's id are unsigned numbers of 64 bits.
_MAX_PART: Final = 2**64 - 1


class _Record(BaseModel):
    """An entry as it stands in the stream."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    v: Literal[1]
    producer: str
    feedback: Feedback


class RedisFeedbackLog:
    """The log of a namespace: bounded in length and life, and in how much one source may say.

    A source that gives none counts by its producer.
    """

    start = "0-0"

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, settings: Settings) -> None:
        self._client = client
        self._ledger = AsyncLedger(client)
        self._keys = keys
        self._settings = settings
        self._address = address_of(client)
        #: The last run of broken entries that was met: the position before it, and its end. A reader that stands
        #: before it goes on behind it, so that the same entries are neither read nor reported at every turn.
        self._broken = ("", "")

    async def append(self, feedback: Feedback, *others: Feedback, producer: str) -> list[str]:
        """Add what a source says at once, all or nothing; gives the positions.

        Raises:
            FeedbackRefusedError: it would be more than the source may say within a minute.
            ValueError: one takes more than `MAX_ENTRY_BYTES`.
            ServerError: with `accepted` unknown it may have been logged, and would be logged again.
        """
        per_source = self._settings.feedback_per_source
        args: tuple[str | int | bytes, ...] = (
            _source_name(feedback, producer),
            per_source,
            int(WINDOW.total_seconds() * 1000),
            self._settings.max_feedback,
            self._settings.feedback_ttl_seconds * 1000,
            *(_encode(one, producer) for one in (feedback, *others)),
        )

        def read(reply: list[bytes]) -> list[str]:
            word, *values = (text_of(part) for part in reply)
            if word == "refused":
                source = feedback.source or f"producer {producer}"
                raise FeedbackRefusedError(source, per_source, timedelta(milliseconds=int(values[0])))
            return values

        with server_errors(self._address, accepted=Acceptance.UNKNOWN):
            return await self._ledger.run(Command("feedback", (self._keys.prefix,), args, read))

    async def read(self, after: str, limit: int = 1_000) -> Sequence[Entry]:
        """Entries after a position, the oldest first; empty only where none that can be read comes after it.

        A broken entry, or one of a version that is not ours, is logged and passed over.

        Raises:
            ValueError: `after` is no position of a log on a server.
            ServerError: it cannot be read.
        """
        _check_position(after)
        before, end = self._broken
        at = end if after == before else after
        entries: list[Entry] = []
        while not entries and (rows := await self._rows(at, limit)):
            at = rows[-1][0]
            read = (_decode(position, fields) for position, fields in rows)
            entries = [entry for entry in read if entry is not None]
            last = entries[-1].position if entries else after
            if last != at:
                self._broken = (last, at)
        return entries

    async def last(self) -> str:
        with server_errors(self._address):
            rows: Any = await self._client.xrevrange(self._keys.feedback, count=1)
        return text_of(rows[0][0]) if rows else self.start

    async def _rows(self, after: str, limit: int) -> list[tuple[str, Mapping[bytes, bytes]]]:
        if limit < 1:
            return []
        with server_errors(self._address):
            rows: Any = await self._client.xrange(self._keys.feedback, min=f"({after}", count=limit)
        return [(text_of(position), fields) for position, fields in rows]


def _source_name(feedback: Feedback, producer: str) -> str:
    """What a source's counter is called: short, whatever the source, and without a user's name in it."""
    name = f"source {feedback.source}" if feedback.source else f"producer {producer}"
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]


def _check_position(position: str) -> None:
    match = _POSITION.fullmatch(position)
    if match is None or any(int(part or 0) >= _MAX_PART for part in match.groups()):
        msg = f"{position[:80]!r} is no position in a feedback log on a server; the first is {RedisFeedbackLog.start!r}"
        raise ValueError(msg)


def _encode(feedback: Feedback, producer: str) -> bytes:
    data = {"v": VERSION, "producer": producer, "feedback": asdict(feedback)}
    # Half a character (a lone surrogate) has no bytes, and nothing to teach: it becomes a question mark.
    entry = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    if len(entry) > MAX_ENTRY_BYTES:
        msg = f"a feedback takes at most {MAX_ENTRY_BYTES:,} bytes with all that is said around it, not {len(entry):,}"
        raise ValueError(msg)
    return entry


def _decode(position: str, fields: Mapping[bytes, bytes]) -> Entry | None:
    try:
        record = _Record.model_validate_json(fields[_FIELD])
    except KeyError:
        reason = f"it has no field {_FIELD.decode()!r}"
    except ValidationError as error:
        issues = error.errors(include_url=False, include_context=False, include_input=False)
        reason = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in issues)
    else:
        at = int(position.partition("-")[0]) / 1000
        return Entry(position=position, feedback=record.feedback, at=at, producer=record.producer)
    logger.warning("feedback_not_read", extra={"position": position, "reason": reason[:200]})
    return None

"""Jobs given up, kept whole for replay, and messages on the queue that never were jobs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.errors import Acceptance, CallRefusedError, ResultError, UnknownJobError
from dispatcher.settings import Settings
from dispatcher.transport import outcomes
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import server_errors
from dispatcher.transport.ledger import AsyncLedger
from dispatcher.transport.publisher import Publisher
from dispatcher.transport.replies import DeadLetter
from dispatcher.transport.script import text_of

_FIELDS = ("state", "function", "queue", "reason", "shown", "raw", "envelope")
#: Characters of a garbage message that a list shows.
_RAW_SHOWN = 200


class DeadLetters:
    """The dead letters of a namespace. Made by `Dispatcher.dead_letters`."""

    def __init__(
        self, ledger: AsyncLedger, commands: Commands, publisher: Publisher, settings: Settings, address: str
    ) -> None:
        self._ledger = ledger
        self._client = ledger.client
        self._commands = commands
        self._publisher = publisher
        self._settings = settings
        self._address = address

    async def count(self) -> int:
        """How many there are."""
        with server_errors(self._address):
            return int(await self._client.zcard(self._commands.keys.dead))

    async def list(self, limit: int = 100) -> list[DeadLetter]:
        """The latest dead letters, the newest first."""
        keys = self._commands.keys
        with server_errors(self._address):
            found: Any = await self._client.zrevrange(keys.dead, 0, max(0, limit - 1), withscores=True)
            entries: list[tuple[bytes, float]] = found
            pipe = self._client.pipeline(transaction=False)
            for job_id, _ in entries:
                pipe.hmget(keys.job(text_of(job_id)), list(_FIELDS))
                pipe.get(keys.result(text_of(job_id)))
            rows = await pipe.execute(raise_on_error=False) if entries else []
        return [
            _letter(text_of(job_id), dead_ms, fields, meta)
            for (job_id, dead_ms), fields, meta in zip(entries, rows[::2], rows[1::2], strict=True)
            # One record that is none of ours does not hide the others.
            if not isinstance(fields, Exception) and not isinstance(meta, Exception) and fields[0] is not None
        ]

    async def replay(self, job_id: str) -> None:
        """Make a job live again, under its own id, with fresh attempts and a fresh deadline.

        Raises:
            UnknownJobError: the ledger holds no such job.
            CallRefusedError: it is no dead letter, or garbage that never was a job.
            ServerError: with `accepted` unknown it may live again.
        """
        deadline = timedelta(seconds=self._settings.default_deadline_seconds)
        with server_errors(self._address, accepted=Acceptance.UNKNOWN):
            answer = await self._ledger.run(self._commands.replay(job_id, deadline))
        if answer == "unknown":
            raise UnknownJobError(job_id)
        if isinstance(answer, str):
            msg = f"{job_id} is no dead letter that can be replayed"
            raise CallRefusedError(msg)
        self._publisher.put(answer)

    async def discard(self, job_id: str) -> bool:
        """Forget a dead letter; its outcome stays as long as outcomes do. False when there is none of that id."""
        with server_errors(self._address):
            return await self._ledger.run(self._commands.discard(job_id))


def _letter(job_id: str, dead_ms: float, row: Sequence[bytes | None], meta: bytes | None) -> DeadLetter:
    state, function, queue, reason, shown, raw, envelope = (
        "" if value is None else value.decode("utf-8", "replace") for value in row
    )
    garbage = state == "garbage"
    if not garbage and meta is not None:
        reason = _reason(meta)
    return DeadLetter(
        id=job_id,
        dead_at=datetime.fromtimestamp(dead_ms / 1000, UTC),
        function=function,
        queue=queue,
        reason=reason,
        arguments_shown=raw[:_RAW_SHOWN] if garbage else shown,
        replayable=bool(envelope),
    )


def _reason(meta: bytes) -> str:
    try:
        error = outcomes.decode(meta).calls[0].error
    except ResultError as unreadable:
        return str(unreadable)
    return "" if error is None else str(error)

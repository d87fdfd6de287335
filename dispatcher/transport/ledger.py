"""The record that makes a job durable, and the only place that decides its state.

`Ledger` runs commands from threads, `AsyncLedger` from an event loop; what a command means is written once, in
`dispatcher.transport.commands`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis
from redis.exceptions import NoScriptError

from dispatcher.errors import DispatcherError
from dispatcher.model.job import JobStatus
from dispatcher.transport.held import Held, Taken
from dispatcher.transport.keys import Keys
from dispatcher.transport.outcomes import is_celerys_word
from dispatcher.transport.replies import STATUS_FIELDS, read_status
from dispatcher.transport.script import Command, script
from dispatcher.transport.wire import Words

if TYPE_CHECKING:
    from redis.asyncio import Redis as AsyncRedis

T = TypeVar("T")


class Asked(Generic[T]):
    """A command that was sent, and whose answer nobody has read."""

    def __init__(self, command: Command[T], connection: Taken) -> None:
        self.command = command
        self.connection = connection


class Ledger:
    """Runs commands from a thread. Safe to share between threads, not across a fork.

    Args:
        client: of the ledger's server.
        keep: whether to keep a connection of the client's for this ledger alone.
    """

    def __init__(self, client: redis.Redis, *, keep: bool = False) -> None:
        self.client = client
        self._held = Held(client, keep=keep)

    def run(self, command: Command[T]) -> T:
        """Run one command in one round trip.

        Raises:
            redis.RedisError: as redis-py raised it; callers wrap it with `connection.server_errors`.
        """
        return self.answer(self.ask(command))

    def ask(self, command: Command[T]) -> Asked[T]:
        """Send one command; what it comes to is waited for with `answer`, unless it is forgotten with `forget`.

        Raises:
            redis.RedisError: there is no connection, or it broke.
        """
        return Asked(command, self._held.send([words_of(command)]))

    def answer(self, asked: Asked[T]) -> T:
        """The answer to a command that was sent; otherwise as `run`."""
        command = asked.command
        (reply,) = self._held.receive(asked.connection, 1)
        if isinstance(reply, NoScriptError):
            (reply,) = self._held.exchange([("EVAL", script(command.script).text, *words_of(command)[2:])])
        if isinstance(reply, Exception):
            raise reply
        return command.read(reply)

    def status(self, keys: Keys, job_id: str) -> JobStatus | None:
        """What the ledger knows of a job; None if it knows none.

        Raises:
            redis.RedisError: as `run` does.
        """
        (row,) = self._held.exchange([("HMGET", keys.job(job_id), *STATUS_FIELDS)])
        if isinstance(row, Exception):
            raise row
        return read_status(job_id, row)

    def forget(self, asked: Asked[T]) -> None:
        """Nobody waits for the answer."""
        self._held.drop(asked.connection)

    def run_many_settled(self, commands: Sequence[Command[T]]) -> list[T | Exception]:
        """Run commands in one round trip, in order; a failure of one is its own entry and spoils no other.

        Raises:
            redis.RedisError: the connection broke; whether any command ran is not known.
        """
        if not commands:
            return []
        replies = self._held.exchange([words_of(command) for command in commands])
        missing = _not_loaded(commands, replies)
        if missing:
            for name in {commands[index].script for index in missing}:
                self.client.script_load(script(name).text)
            _put(replies, missing, self._held.exchange([words_of(commands[index]) for index in missing]))
        return _read_settled(commands, replies)


class AsyncLedger:
    """Runs commands from an event loop."""

    def __init__(self, client: "AsyncRedis") -> None:
        from dispatcher.transport.line import Line  # noqa: PLC0415 - most workers need none

        self.client = client
        self._line = Line(client)

    async def run_many_settled(self, commands: Sequence[Command[T]]) -> list[T | Exception]:
        """Run commands in one round trip, in order; a failure of one is its own entry and spoils no other.

        Raises:
            redis.RedisError: the connection broke; whether any command ran is not known.
        """
        if not commands:
            return []
        replies = await self._line.exchange([words_of(command) for command in commands])
        missing = _not_loaded(commands, replies)
        if missing:
            for name in {commands[index].script for index in missing}:
                await self._ask("SCRIPT", "LOAD", script(name).text)
            _put(replies, missing, await self._line.exchange([words_of(commands[index]) for index in missing]))
        return _read_settled(commands, replies)

    async def run(self, command: Command[T]) -> T:
        """Run one command in one round trip."""
        (result,) = await self.run_many_settled([command])
        if isinstance(result, Exception):
            raise result
        return result

    async def ping(self) -> None:
        """Ask only whether the server answers."""
        await self._ask("PING")

    async def results(self, keys: Keys, job_ids: Sequence[str]) -> list[bytes | None]:
        """The stored outcomes of these jobs, in Celery's result format; None where there is none."""
        found: list[bytes | None] = await self._ask("MGET", *map(keys.result, job_ids))
        return [None if meta is None or is_celerys_word(meta) else meta for meta in found]

    async def status(self, keys: Keys, job_id: str) -> JobStatus | None:
        """What the ledger knows of a job; None if it knows none."""
        return read_status(job_id, await self._ask("HMGET", keys.job(job_id), *STATUS_FIELDS))

    async def _ask(self, *words: str) -> Any:  # noqa: ANN401 - as hiredis gives it
        (reply,) = await self._line.exchange([words])
        if isinstance(reply, Exception):
            raise reply
        return reply


def words_of(command: Command[T]) -> Words:
    """A command as it is sent."""
    return "EVALSHA", script(command.script).sha, len(command.keys), *command.keys, *command.args


def _not_loaded(commands: Sequence[Command[T]], replies: Sequence[object]) -> list[int]:
    """Which commands did not run because the server does not hold their script: it was restarted, or told to forget."""
    return [index for index, _ in enumerate(commands) if isinstance(replies[index], NoScriptError)]


def _put(replies: list[Any], places: Sequence[int], values: Sequence[Any]) -> None:
    for index, value in zip(places, values, strict=True):
        replies[index] = value


def _read_settled(commands: Sequence[Command[T]], replies: Sequence[Any]) -> list[T | Exception]:
    results: list[T | Exception] = []
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, Exception):
            results.append(reply)
            continue
        try:
            results.append(command.read(reply))
        except (DispatcherError, ValueError, TypeError, LookupError) as refusal:
            # A refusal, or a record that cannot be read: this command's own matter.
            results.append(refusal)
    return results

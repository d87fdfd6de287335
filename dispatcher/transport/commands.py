"""What the ledger can be asked: each thing is a `Command`.

Written once here, run by `dispatcher.transport.ledger` from threads and from event loops.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import redis

from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import BacklogFullError, IdempotencyConflictError
from dispatcher.model.job import CANCELLED_BY_PRODUCER, Delivery, Job, JobState, Progress
from dispatcher.model.outcome import ErrorInfo, ErrorKind
from dispatcher.settings import Settings
from dispatcher.transport import outcomes
from dispatcher.transport.acceptance import words_of
from dispatcher.transport.cache import Found, Kept, Wanted, read_found, topics_text
from dispatcher.transport.keys import Keys
from dispatcher.transport.message import Message
from dispatcher.transport.replies import Accepted, Lease, Looked, LookedAction, NoLease, QueueState, WakeUp
from dispatcher.transport.script import Command, milliseconds, text_of, time_of


class Commands:
    """Builds the commands. Pure: no connection, no state but the names and the bounds."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.keys = Keys(settings.namespace, settings.result_prefix)
        self._settings = settings
        self._clock = clock or SystemClock()
        #: How long after its deadline a job's record is kept: it may still become a dead letter then.
        self._keep_ms = max(settings.dead_letter_ttl_seconds, settings.result_ttl_seconds) * 1000
        #: What acceptances begin with.
        self._bounds = settings.idempotency_ttl_seconds * 1000, settings.max_backlog, self._keep_ms

    def accept(self, job: Job) -> Command[Accepted]:
        """Accept a job. Its wake-up is to be published by the caller.

        Raises (when read):
            IdempotencyConflictError, BacklogFullError: nothing was accepted.
        """
        command = self.accept_many([job])

        def read(reply: Any) -> Accepted:  # noqa: ANN401 - as redis-py gives it
            (accepted,) = command.read(reply)
            if isinstance(accepted, Exception):
                raise accepted
            return accepted

        return Command(command.script, command.keys, command.args, read)

    def accept_many(self, jobs: Sequence[Job], messages: Sequence[Message] = ()) -> Command[list[Accepted | Exception]]:
        """Accept jobs and publish their wake-ups, at once; a refusal of one is its own entry.

        Args:
            jobs: at most as many as one script may take without holding up the server.
            messages: their wake-ups, where the broker is this server; each is for jobs that stand together.
        """
        args: list[str | int] = [*self._bounds, len(jobs), *words_of(jobs)]
        queues: list[str] = []
        for message in messages:
            if message.list_key not in queues:
                queues.append(message.list_key)
            # Lua counts from 1, and the first key is the prefix.
            args += (queues.index(message.list_key) + 2, message.first + 1, message.last + 1, message.text)

        def read(replies: list[list[bytes]]) -> list[Accepted | Exception]:
            return [self._read_accepted(job, reply) for job, reply in zip(jobs, replies, strict=True)]

        return Command("accept", (self.keys.prefix, *queues), tuple(args), read)

    def _read_accepted(self, job: Job, reply: list[bytes]) -> Accepted | Exception:
        word = text_of(reply[0])
        if word == "backlog":
            return BacklogFullError(job.queue, self._settings.max_backlog)
        if word == "error":
            return redis.ResponseError(text_of(reply[1]))
        if word == "conflict":
            return IdempotencyConflictError(job.idempotency_key or "", job.function, text_of(reply[1]))
        if word == "cached":
            now = self._clock.now()
            return Accepted(job_id=job.id, deadline_at=now, new=False, sequence=0, entry=text_of(reply[1]))
        return Accepted(
            job_id=text_of(reply[1]),
            deadline_at=time_of(reply[2]),
            new=word not in {"repeated", "shared"},
            sequence=int(reply[3]),
            shared=word == "shared",
        )

    def lease(self, job_id: str, worker: str, nonce: str) -> Command[Lease | NoLease]:
        """Ask for a job on behalf of one delivery of its wake-up; `nonce` makes a repeated request harmless."""
        command = self._ask_for([job_id], worker, nonce)
        return Command(*command, lambda replies: _read_lease(job_id, replies[0]))

    def lease_many(self, job_ids: Sequence[str], worker: str, nonce: str) -> Command[list[Lease | NoLease]]:
        """Ask for jobs that one worker is to run one after the other.

        A job that is lost with such a worker is not counted as lost: it may never have begun. It is published again,
        by itself, and counts from then on. A job that must never run twice is not given so: it reads `alone`.
        """

        def read(replies: list[list[bytes]]) -> list[Lease | NoLease]:
            return [_read_lease_of_many(job_id, reply) for job_id, reply in zip(job_ids, replies, strict=True)]

        return Command(*self._ask_for(job_ids, worker, nonce), read)

    def _ask_for(
        self, job_ids: Sequence[str], worker: str, nonce: str
    ) -> tuple[str, tuple[str, ...], tuple[str | int | bytes, ...]]:
        """The script, its keys and its arguments."""
        return "lease", (self.keys.prefix,), (worker, nonce, int(self._settings.lease_seconds * 1000), *job_ids)

    def give_back(self, leases: Sequence[tuple[str, int]]) -> Command[list[str]]:
        """Return leases (job and token) of jobs that have not begun; reads each queue, '' where it was not ours."""
        args = tuple(part for lease in leases for part in lease)
        return Command("give_back", (self.keys.prefix,), args, lambda reply: [text_of(queue) for queue in reply])

    def heartbeat(self, beats: Sequence[tuple[str, int, Progress | None]]) -> Command[list[str]]:
        """Keep leases; for each job reads 'kept', 'cancel:<reason>' or 'lost'."""
        args: list[str | int] = [int(self._settings.lease_seconds * 1000)]
        for job_id, token, progress in beats:
            shown = "" if progress is None else json.dumps([progress.done, progress.total, progress.message])
            args += [job_id, token, shown]
        return Command("heartbeat", (self.keys.prefix,), tuple(args), lambda reply: [text_of(word) for word in reply])

    def save(self, job_id: str, token: int, done: dict[int, outcomes.CallRecord]) -> Command[str]:
        """Record calls that have ended while others of their job run on; reads 'saved' or 'stale'."""
        args = (job_id, token, outcomes.encode_done(done))
        return Command("save", (self.keys.prefix,), args, text_of)

    def settle(self, job_id: str, token: int, record: outcomes.JobRecord, keep: Sequence[Kept] = ()) -> Command[str]:
        """End the job with its outcome; reads 'settled', or 'stale' when the token is no longer the current one.

        Args:
            job_id: the job.
            token: of the attempt that ends it.
            record: the outcome.
            keep: of it, what equal calls may use.
        """
        settings = self._settings
        args: tuple[str | int, ...] = (
            job_id,
            token,
            str(record.state),
            outcomes.encode(job_id, record, self._clock.now()),
            _ended(record),
            settings.result_ttl_seconds * 1000,
        )
        if record.state is JobState.FAILED:
            args += (settings.dead_letter_ttl_seconds * 1000, settings.max_dead_letters)
        for kept in keep:
            args += (kept.name, kept.entry, max(milliseconds(kept.lifetime), 1))
        return self._settle(job_id, args)

    @staticmethod
    def settle_together(settlements: Sequence[Command[str]]) -> Command[list[str]]:
        """Several of `settle` and `retry` as one; of each reads what it would, or 'error:<what the server said>'."""
        keys = (settlements[0].keys[0], *(one.keys[1] for one in settlements))
        args = tuple(word for one in settlements for word in one.args)
        return Command("settle", keys, args, lambda replies: [text_of(word) for word in replies])

    def _settle(self, job_id: str, args: tuple[str | int, ...]) -> Command[str]:
        keys = (self.keys.prefix, self.keys.result(job_id))
        return Command("settle", keys, (len(args), *args), lambda replies: text_of(replies[0]))

    def retry(
        self, job_id: str, token: int, wait: timedelta, done: dict[int, outcomes.CallRecord] | None = None
    ) -> Command[str]:
        """End the attempt, and make another after `wait`; reads 'scheduled', 'stale', or 'cancel:<reason>'."""
        stands = outcomes.encode_done(done) if done else ""
        return self._settle(job_id, (job_id, token, "scheduled", stands, milliseconds(wait)))

    def cancel(self, job_id: str, *, reason: str, hard: bool, producer: str = "") -> Command[str]:
        """Cancel a job; reads 'unknown', 'settled:<state>', 'cancelled', or 'requested' when it is running.

        With a producer, one that others share goes on without that producer: reads 'released'.
        """
        record = outcomes.without_value(JobState.CANCELLED, attempts=0, reason=reason)
        args = (
            job_id,
            reason,
            int(hard),
            outcomes.encode(job_id, record, self._clock.now()),
            self._settings.result_ttl_seconds * 1000,
            producer,
        )
        return Command("cancel", (self.keys.prefix, self.keys.result(job_id)), args, text_of)

    def find(self, producer: str, wanted: Sequence[Wanted]) -> Command[list[Found]]:
        """Find how equal calls have ended, or join the jobs that run for them."""
        args: list[str] = [producer]
        for one in wanted:
            args += (one.name, topics_text(one.topics), one.function, one.queue)

        def read(replies: list[list[bytes]]) -> list[Found]:
            return [read_found(reply) for reply in replies]

        return Command("find", (self.keys.prefix,), tuple(args), read)

    def rejoin(self, job_id: str, producer: str) -> Command[str]:
        """Share a job again; reads 'joined', or 'over' where it has its outcome."""
        return Command("rejoin", (self.keys.prefix,), (job_id, producer), text_of)

    def invalidate(self, topics: Sequence[str], names: Sequence[str] = ()) -> Command[int]:
        """Make useless what is kept, and what is under way, under these topics and for these single calls."""
        return Command("invalidate", (self.keys.prefix,), (self._keep_ms, len(topics), *topics, *names), int)

    def due(self, node: str, limit: int) -> Command[list[str] | None]:
        """Ids of the jobs whose next-look time has come; None while another node sweeps."""
        hold = int(self._settings.sweep_interval_seconds * 3000) + 2000

        def read(reply: list[bytes] | bytes) -> list[str] | None:
            return [text_of(job_id) for job_id in reply] if isinstance(reply, list) else None

        return Command("due", (self.keys.prefix,), (node, hold, limit), read)

    def stop_sweeping(self, node: str) -> Command[None]:
        """Let another node sweep at once; changes nothing where another does already."""
        return Command("due", (self.keys.prefix,), (node, 0, 0), lambda _: None)

    def look(self, job_id: str) -> Command[Looked]:
        """Look at one due job: publish it, expire it, give it up, or leave it."""
        settings, now = self._settings, self._clock.now()
        lost = ErrorInfo(
            kind=ErrorKind.LOST,
            type="celery.exceptions.WorkerLostError",
            message="the worker running this job was lost (killed, crashed or cut off), as often as is allowed",
        )
        ends = (
            outcomes.without_value(JobState.EXPIRED, attempts=0),
            outcomes.without_value(JobState.FAILED, attempts=0, error=lost),
            outcomes.without_value(JobState.CANCELLED, attempts=0, reason=CANCELLED_BY_PRODUCER),
        )
        args: tuple[str | int, ...] = (
            job_id,
            settings.max_lost_attempts,
            # The script puts in what only it knows: the attempts made, and why the producer cancelled.
            *(outcomes.encode(job_id, end, now) for end in ends),
            settings.result_ttl_seconds * 1000,
            settings.dead_letter_ttl_seconds * 1000,
            settings.max_dead_letters,
            CANCELLED_BY_PRODUCER,
        )

        def read(reply: list[bytes]) -> Looked:
            action = cast("LookedAction", text_of(reply[0]))
            function = text_of(reply[1]) if len(reply) > 1 else ""
            if action != "publish":
                return Looked(action=action, function=function, shown=text_of(reply[2]) if function else "")
            wake_up = WakeUp(
                job_id=job_id,
                function=function,
                queue=text_of(reply[2]),
                shown=text_of(reply[3]),
                head=reply[4] == b"1",
                attempts=int(reply[5]),
            )
            return Looked(action=action, function=function, wake_up=wake_up)

        return Command("look", (self.keys.prefix, self.keys.result(job_id)), args, read)

    def postpone(self, job_id: str, pause: timedelta) -> Command[None]:
        """Look at a due job again only after a pause."""
        return Command("postpone", (self.keys.prefix,), (job_id, milliseconds(pause)), lambda _: None)

    def untold(self, limit: int) -> Command[list[tuple[str, Looked]]]:
        """Take the jobs that were cancelled where no worker saw it, by id, for Celery's events."""

        def read(reply: list[list[bytes]]) -> list[tuple[str, Looked]]:
            return [
                (text_of(row[0]), Looked(action="cancelled", function=text_of(row[1]), shown=text_of(row[2])))
                for row in reply
            ]

        return Command("untold", (self.keys.prefix,), (limit,), read)

    def lost(self, queue: str, *, started: int | None, limit: int, first: int = 0) -> Command[list[WakeUp]]:
        """The waiting jobs of a queue whose wake-up must have been lost.

        Args:
            queue: its name.
            started: every job up to this sequence number should have started by now; None when all should have,
                because the broker holds no message of the queue.
            limit: how many to look at.
            first: how many of those that wait longest to pass over.
        """
        grace = int(self._settings.republish_grace_seconds * 1000)

        def read(reply: list[list[bytes]]) -> list[WakeUp]:
            return [
                WakeUp(
                    job_id=text_of(row[0]),
                    function=text_of(row[1]),
                    queue=queue,
                    shown=text_of(row[2]),
                    head=True,
                    attempts=int(row[3]),
                )
                for row in reply
            ]

        upto = "+inf" if started is None else f"({started}"
        return Command("lost", (self.keys.prefix,), (queue, upto, grace, limit, first), read)

    def queues(self) -> Command[list[QueueState]]:
        """Every queue that was ever used, with what waits in it."""

        def read(reply: list[list[bytes]]) -> list[QueueState]:
            return [
                QueueState(
                    name=text_of(row[0]),
                    waiting=int(row[1]),
                    started=int(row[2]),
                    oldest=timedelta(milliseconds=int(row[3])),
                )
                for row in reply
            ]

        return Command("queues", (self.keys.prefix,), (), read)

    def replay(self, job_id: str, deadline: timedelta) -> Command[WakeUp | str]:
        """Make a dead letter live again; reads its wake-up, or 'unknown' or 'not_dead'."""

        def read(reply: list[bytes]) -> WakeUp | str:
            word = text_of(reply[0])
            if word != "replayed":
                return word
            return WakeUp(
                job_id=job_id,
                function=text_of(reply[1]),
                queue=text_of(reply[2]),
                shown=text_of(reply[3]),
                attempts=int(reply[4]),
            )

        keys = (self.keys.prefix, self.keys.result(job_id))
        return Command("replay", keys, (job_id, milliseconds(deadline), self._keep_ms), read)

    def discard(self, job_id: str) -> Command[bool]:
        """Forget a dead letter; reads False where there is none of that id."""
        return Command("discard", (self.keys.prefix,), (job_id,), bool)


def _read_lease(job_id: str, reply: list[bytes]) -> Lease | NoLease:
    word = text_of(reply[0])
    if word != "leased":
        return NoLease(word)
    attempt = int(reply[1])
    now, deadline = time_of(reply[4]), time_of(reply[5])
    return Lease(
        job_id=job_id,
        token=attempt,
        attempt=attempt,
        failures=int(reply[2]),
        lost=int(reply[3]),
        time_left=deadline - now,
        deadline_at=deadline,
        accepted_at=time_of(reply[6]),
        function=text_of(reply[7]),
        idempotency_key=text_of(reply[8]),
        delivery=cast("Delivery", text_of(reply[9])),
        envelope=text_of(reply[10]),
        done=outcomes.decode_done(text_of(reply[11])),
    )


def _read_lease_of_many(job_id: str, reply: list[bytes]) -> Lease | NoLease:
    try:
        return _read_lease(job_id, reply)
    except (ValueError, TypeError, LookupError) as error:
        # A record that somebody broke is its own job's matter.
        return NoLease(f"error:{error}")


def _ended(record: outcomes.JobRecord) -> str:
    """How many calls ended how, as JSON text; empty for a record of one entry, which stands for all calls."""
    if len(record.calls) == 1:
        return ""
    return json.dumps(Counter(str(call.state) for call in record.calls))

"""What the ledger can be asked: each thing is a `Command`, a Lua script with its arguments and the reading of its reply.

Written once here, run by `dispatcher.transport.ledger` from threads and from event loops.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Generic, Literal, TypeVar, cast

from dispatcher.clock import Clock, SystemClock
from dispatcher.errors import BacklogFullError, IdempotencyConflictError
from dispatcher.model.envelope import Envelope
from dispatcher.model.job import CANCELLED_BY_PRODUCER, Delivery, Job, JobState, JobStatus, Progress
from dispatcher.model.outcome import ErrorInfo, ErrorKind
from dispatcher.settings import Settings
from dispatcher.transport import outcomes
from dispatcher.transport.keys import Keys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script with the common part before it."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Read `lua/<name>.lua` from the package."""
    folder = files("dispatcher.transport") / "lua"
    text = (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One request to the ledger: atomic, one round trip, safe to repeat."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...]
    #: Turns the reply into what the caller gets; raises the typed refusals.
    read: Callable[[Any], T]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """What acceptance says. Times are the server's."""

    job_id: str
    deadline_at: datetime
    #: False when the idempotency key named a job that exists already: `job_id` is that job.
    new: bool
    #: Position in the queue's order; 0 when there is nothing to publish now (delayed, or not new).
    sequence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A job given to a worker for one attempt."""

    job_id: str
    #: The fencing token: only its holder can settle the job.
    token: int
    attempt: int
    #: Attempts that failed before this one, and attempts whose worker was lost.
    failures: int
    lost: int
    #: What is left until the deadline, by the server's clock at the moment of leasing.
    time_left: timedelta
    accepted_at: datetime
    deadline_at: datetime
    function: str
    idempotency_key: str
    delivery: Delivery
    #: The encoded `Envelope`.
    envelope: str
    #: Outcomes of this job's calls that stand already, by position.
    done: dict[int, outcomes.CallRecord]


@dataclass(frozen=True, slots=True)
class NoLease:
    """Why a wake-up is not to be run: 'unknown', 'settled:<state>', 'leased_elsewhere', 'not_due' or 'look'."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WakeUp:
    """What must be published so that a worker asks for the job."""

    job_id: str
    function: str
    queue: str
    #: The redacted arguments, for Flower and logs.
    shown: str
    #: Whether it goes to the head of the queue: the job has waited before.
    head: bool = False
    #: Attempts made before, for Flower's retries.
    attempts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueState:
    """What waits in a queue, by the ledger's account."""

    name: str
    waiting: int
    #: The highest sequence number that any worker has started.
    started: int
    #: Since the longest-waiting job was accepted; zero when none waits.
    oldest: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What a look at a due job did."""

    action: Literal["publish", "expired", "gave_up", "cancelled", "nothing"]
    function: str = ""
    #: The redacted arguments, of a job that it ended.
    shown: str = ""
    wake_up: WakeUp | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A job given up, or a message that never was one."""

    id: str
    dead_at: datetime
    #: Empty for garbage.
    function: str
    queue: str
    #: For garbage: why it was refused. For a job: its error, as stored with the outcome.
    reason: str
    arguments_shown: str
    #: Whether it can be replayed.
    replayable: bool


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _time(milliseconds: bytes | str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds, at least 0, at most about 300 years."""
    return max(0, min(int(duration.total_seconds() * 1000), 10**13))


class Commands:
    """Builds the commands. Pure: no connection, no state but the names and the bounds."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.keys = Keys(settings.namespace, settings.result_prefix)
        self._settings = settings
        self._clock = clock or SystemClock()

    def accept(self, job: Job) -> Command[Accepted]:
        """Accept a job.

        Raises (when read):
            IdempotencyConflictError, BacklogFullError: nothing was accepted.
        """
        settings = self._settings
        envelope = Envelope(function=job.function, version=job.version, calls=job.calls)
        key = f"{job.function}:{hashlib.sha256(job.idempotency_key.encode()).hexdigest()}" if job.idempotency_key else ""
        fields: dict[str, str | int] = {
            "function": job.function,
            "version": job.version,
            "calls": len(job.calls),
            "producer": job.producer,
            "delivery": job.delivery,
            "shown": job.arguments_shown,
            "idempotency_key": job.idempotency_key or "",
            "envelope": envelope.encode(),
        }
        args: tuple[str | int, ...] = (
            job.id,
            job.queue,
            milliseconds(job.delay),
            milliseconds(job.deadline),
            job.digest,
            key,
            settings.idempotency_ttl_seconds * 1000,
            settings.max_backlog,
            max(settings.dead_letter_ttl_seconds, settings.result_ttl_seconds) * 1000,
            *(part for pair in fields.items() for part in pair),
        )

        def read(reply: list[bytes]) -> Accepted:
            word = _text(reply[0])
            if word == "backlog":
                raise BacklogFullError(job.queue, settings.max_backlog)
            if word == "conflict":
                raise IdempotencyConflictError(job.idempotency_key or "", job.function, _text(reply[1]))
            return Accepted(
                job_id=_text(reply[1]),
                deadline_at=_time(reply[2]),
                new=word != "repeated",
                sequence=int(reply[3]),
            )

        return Command("accept", (self.keys.prefix,), args, read)

    def lease(self, job_id: str, worker: str, nonce: str) -> Command[Lease | NoLease]:
        """Ask for a job on behalf of one delivery of its wake-up; `nonce` makes a repeated request harmless."""
        args = (job_id, worker, nonce, int(self._settings.lease_seconds * 1000))

        def read(reply: list[bytes]) -> Lease | NoLease:
            word = _text(reply[0])
            if word != "leased":
                return NoLease(word)
            now, deadline = _time(reply[5]), _time(reply[6])
            return Lease(
                job_id=job_id,
                token=int(reply[1]),
                attempt=int(reply[2]),
                failures=int(reply[3]),
                lost=int(reply[4]),
                time_left=deadline - now,
                deadline_at=deadline,
                accepted_at=_time(reply[7]),
                function=_text(reply[8]),
                idempotency_key=_text(reply[9]),
                delivery=cast("Delivery", _text(reply[10])),
                envelope=_text(reply[11]),
                done=outcomes.decode_done(_text(reply[12])),
            )

        return Command("lease", (self.keys.prefix,), args, read)

    def heartbeat(self, beats: Sequence[tuple[str, int, Progress | None]]) -> Command[list[str]]:
        """Keep leases; for each job reads 'kept', 'cancel:<reason>' or 'lost'."""
        args: list[str | int] = [int(self._settings.lease_seconds * 1000)]
        for job_id, token, progress in beats:
            shown = "" if progress is None else json.dumps([progress.done, progress.total, progress.message])
            args += [job_id, token, shown]
        return Command("heartbeat", (self.keys.prefix,), tuple(args), lambda reply: [_text(word) for word in reply])

    def settle(
        self, job_id: str, token: int, record: outcomes.JobRecord, keep: tuple[str, timedelta] | None = None
    ) -> Command[str]:
        """End the job with its outcome; reads 'settled', or 'stale' when the token is no longer the current one.

        Args:
            job_id: the job.
            token: of the attempt that ends it.
            record: the outcome.
            keep: where to keep the value for equal calls (`Keys.cached`), and how long; only for a single success.
        """
        settings = self._settings
        args: tuple[str | int, ...] = (
            job_id,
            token,
            str(record.state),
            outcomes.encode(job_id, record, self._clock.now()),
            settings.result_ttl_seconds * 1000,
            int(record.state is JobState.FAILED),
            settings.dead_letter_ttl_seconds * 1000,
            settings.max_dead_letters,
        )
        keys: tuple[str, ...] = (self.keys.prefix, self.keys.result(job_id))
        if keep is not None and record.calls[0].value is not None:
            keys += (keep[0],)
            args += (milliseconds(keep[1]), record.calls[0].value)
        return Command("settle", keys, args, _text)

    def retry(
        self, job_id: str, token: int, wait: timedelta, done: dict[int, outcomes.CallRecord] | None = None
    ) -> Command[str]:
        """End the attempt, and make another after `wait`; reads 'scheduled', 'stale', or 'cancel:<reason>'."""
        stands = outcomes.encode_done(done) if done else ""
        args = (job_id, token, "scheduled", stands, milliseconds(wait))
        return Command("settle", (self.keys.prefix, self.keys.result(job_id)), args, _text)

    def cancel(self, job_id: str, *, reason: str, hard: bool) -> Command[str]:
        """Cancel a job; reads 'unknown', 'settled:<state>', 'cancelled', or 'requested' when it is running."""
        record = outcomes.without_value(JobState.CANCELLED, attempts=0, reason=reason)
        args = (
            job_id,
            reason,
            int(hard),
            outcomes.encode(job_id, record, self._clock.now()),
            self._settings.result_ttl_seconds * 1000,
        )
        return Command("cancel", (self.keys.prefix, self.keys.result(job_id)), args, _text)

    def due(self, node: str, limit: int) -> Command[list[str] | None]:
        """Ids of the jobs whose next-look time has come; None while another node sweeps."""
        hold = int(self._settings.sweep_interval_seconds * 3000) + 2000

        def read(reply: list[bytes] | bytes) -> list[str] | None:
            return [_text(job_id) for job_id in reply] if isinstance(reply, list) else None

        return Command("due", (self.keys.prefix,), (node, hold, limit), read)

    def stop_sweeping(self, node: str) -> Command[None]:
        """Let another node sweep at once; changes nothing where another does already."""
        return Command("due", (self.keys.prefix,), (node, 0, 0), lambda _: None)

    def look(self, job_id: str) -> Command[Looked]:
        """Look at one due job: publish it, expire it, give it up, or leave it."""
        settings, now = self._settings, self._clock.now()
        lost = ErrorInfo(
            kind=ErrorKind.LOST,
            type="dispatcher.errors.WorkerLost",
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
            action = cast("Literal['publish', 'expired', 'gave_up', 'cancelled', 'nothing']", _text(reply[0]))
            function = _text(reply[1]) if len(reply) > 1 else ""
            if action != "publish":
                return Looked(action=action, function=function, shown=_text(reply[2]) if function else "")
            wake_up = WakeUp(
                job_id=job_id,
                function=function,
                queue=_text(reply[2]),
                shown=_text(reply[3]),
                head=reply[4] == b"1",
                attempts=int(reply[5]),
            )
            return Looked(action=action, function=function, wake_up=wake_up)

        return Command("look", (self.keys.prefix, self.keys.result(job_id)), args, read)

    def untold(self, limit: int) -> Command[list[tuple[str, Looked]]]:
        """Take the jobs that were cancelled where no worker saw it, by id, for Celery's events."""

        def read(reply: list[list[bytes]]) -> list[tuple[str, Looked]]:
            return [
                (_text(row[0]), Looked(action="cancelled", function=_text(row[1]), shown=_text(row[2])))
                for row in reply
            ]

        return Command("untold", (self.keys.prefix,), (limit,), read)

    def lost(self, queue: str, *, started: int | None, limit: int) -> Command[list[WakeUp]]:
        """The waiting jobs of a queue whose wake-up must have been lost.

        Args:
            queue: its name.
            started: every job up to this sequence number should have started by now; None when all should have,
                because the broker holds no message of the queue.
            limit: how many to look at.
        """
        grace = int(self._settings.republish_grace_seconds * 1000)

        def read(reply: list[list[bytes]]) -> list[WakeUp]:
            return [
                WakeUp(
                    job_id=_text(row[0]),
                    function=_text(row[1]),
                    queue=queue,
                    shown=_text(row[2]),
                    head=True,
                    attempts=int(row[3]),
                )
                for row in reply
            ]

        upto = "+inf" if started is None else f"({started}"
        return Command("lost", (self.keys.prefix,), (queue, upto, grace, limit), read)

    def queues(self) -> Command[list[QueueState]]:
        """Every queue that was ever used, with what waits in it."""

        def read(reply: list[list[bytes]]) -> list[QueueState]:
            return [
                QueueState(
                    name=_text(row[0]),
                    waiting=int(row[1]),
                    started=int(row[2]),
                    oldest=timedelta(milliseconds=int(row[3])),
                )
                for row in reply
            ]

        return Command("queues", (self.keys.prefix,), (), read)

    def replay(self, job_id: str, deadline: timedelta) -> Command[WakeUp | str]:
        """Make a dead letter live again; reads its wake-up, or 'unknown' or 'not_dead'."""
        keep = max(self._settings.dead_letter_ttl_seconds, self._settings.result_ttl_seconds) * 1000

        def read(reply: list[bytes]) -> WakeUp | str:
            word = _text(reply[0])
            if word != "replayed":
                return word
            return WakeUp(
                job_id=job_id,
                function=_text(reply[1]),
                queue=_text(reply[2]),
                shown=_text(reply[3]),
                attempts=int(reply[4]),
            )

        keys = (self.keys.prefix, self.keys.result(job_id))
        return Command("replay", keys, (job_id, milliseconds(deadline), keep), read)

    def discard(self, job_id: str) -> Command[bool]:
        """Forget a dead letter; reads False where there is none of that id."""
        return Command("discard", (self.keys.prefix,), (job_id,), bool)


#: The fields of a job's hash that `read_status` wants, in order.
STATUS_FIELDS = (
    "function", "queue", "state", "calls", "attempt", "failures", "lost", "accepted_ms", "deadline_ms",
    "due_ms", "started_ms", "settled_ms", "worker", "cancel", "progress",
)  # fmt: skip


def read_status(job_id: str, row: Sequence[bytes | None]) -> JobStatus | None:
    """A status from the fields of a job's hash; None where there is no job."""
    job = dict(zip(STATUS_FIELDS, row, strict=True))
    if job["state"] is None or job["state"] == b"garbage":
        return None

    def text(name: str) -> str:
        value = job[name]
        return "" if value is None else _text(value)

    def time(name: str) -> datetime | None:
        value = job[name]
        return None if value is None else _time(value)

    progress = job["progress"]
    done = None
    if progress is not None:
        at, total, message = json.loads(progress)
        done = Progress(done=at, total=total, message=message)
    return JobStatus(
        id=job_id,
        function=text("function"),
        queue=text("queue"),
        state=JobState(text("state")),
        calls=int(text("calls")),
        attempt=int(text("attempt")),
        failures=int(text("failures")),
        lost=int(text("lost")),
        accepted_at=_time(text("accepted_ms")),
        deadline_at=_time(text("deadline_ms")),
        due_at=time("due_ms"),
        started_at=time("started_ms"),
        settled_at=time("settled_ms"),
        worker=text("worker"),
        cancel_requested=job["cancel"] is not None,
        progress=done,
    )

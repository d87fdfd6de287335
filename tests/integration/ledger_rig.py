"""A ledger under test: short ways to ask it, to look behind it, and to let its time pass without waiting."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import redis

from dispatcher.model.job import Job, JobState, JobStatus, Progress
from dispatcher.model.outcome import ErrorInfo, ErrorKind
from dispatcher.settings import Settings
from dispatcher.transport import outcomes
from dispatcher.transport.commands import Commands
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import (
    STATUS_FIELDS,
    Accepted,
    Lease,
    Looked,
    NoLease,
    QueueState,
    WakeUp,
    read_status,
)

#: Keys that live as long as the namespace: the indexes of what is unsettled, and the counters.
WITHOUT_TTL = (
    "due",
    "scheduled",
    "sequence",
    "started",
    "counts",
    "epochs",
    "waiting:",
    "models",
    "model:",
    "champion",
)

#: The fields of a job's hash that are moments.
TIMES = ("accepted_ms", "deadline_ms", "due_ms", "lease_ms", "published_ms", "started_ms", "settled_ms")


def succeeded(value: str = "1", *, attempts: int = 1) -> JobRecord:
    return JobRecord(attempts=attempts, calls=(CallRecord(state=JobState.SUCCEEDED, value=value),))


def failed(message: str = "broken", *, attempts: int = 1) -> JobRecord:
    error = ErrorInfo(kind=ErrorKind.FUNCTION, type="ValueError", message=message)
    return JobRecord(attempts=attempts, calls=(CallRecord(state=JobState.FAILED, error=error),))


class Rig:
    """One namespace of a real server."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.commands = Commands(settings)
        self.keys = self.commands.keys
        self.ledger = Ledger(client)

    def with_settings(self, **settings: Any) -> "Rig":
        """The same namespace under other settings."""
        return Rig(self.client, Settings(namespace=self.settings.namespace, **settings))

    # --- asking

    def job(self, **changes: Any) -> Job:
        made = Job(
            id=uuid.uuid4().hex,
            function="text.count",
            version="1",
            calls=("{}",),
            queue="default",
            deadline=timedelta(minutes=10),
            producer="tester",
            arguments_shown='{"text": "***"}',
        )
        return replace(made, **changes)

    def accept(self, job: Job | None = None, **changes: Any) -> Accepted:
        return self.ledger.run(self.commands.accept(self.job(**changes) if job is None else job))

    def waiting(self, **changes: Any) -> str:
        """The id of a new job that waits in its queue."""
        return self.accept(**changes).job_id

    def running(self, **changes: Any) -> tuple[str, int]:
        """The id of a new job that a worker holds, and the token."""
        job_id = self.waiting(**changes)
        return job_id, self.leased(job_id).token

    def dead(self, **changes: Any) -> str:
        """The id of a new dead letter."""
        job_id, token = self.running(**changes)
        assert self.settle(job_id, token, failed()) == "settled"
        return job_id

    def lease(self, job_id: str, nonce: str | None = None, worker: str = "worker") -> Lease | NoLease:
        return self.ledger.run(self.commands.lease(job_id, worker, nonce or uuid.uuid4().hex))

    def leased(self, job_id: str, nonce: str | None = None, worker: str = "worker") -> Lease:
        answer = self.lease(job_id, nonce, worker)
        assert isinstance(answer, Lease), answer
        return answer

    def refusal(self, job_id: str, nonce: str | None = None) -> str:
        answer = self.lease(job_id, nonce)
        assert isinstance(answer, NoLease), answer
        return answer.reason

    def beat(self, job_id: str, token: int, progress: Progress | None = None) -> str:
        (word,) = self.ledger.run(self.commands.heartbeat([(job_id, token, progress)]))
        return word

    def settle(self, job_id: str, token: int, record: JobRecord | None = None, **keep: Any) -> str:
        return self.ledger.run(self.commands.settle(job_id, token, record or succeeded(), **keep))

    def retry(self, job_id: str, token: int, wait: float = 5, done: dict[int, CallRecord] | None = None) -> str:
        return self.ledger.run(self.commands.retry(job_id, token, timedelta(seconds=wait), done))

    def cancel(self, job_id: str, reason: str = "no longer wanted", *, hard: bool = False) -> str:
        return self.ledger.run(self.commands.cancel(job_id, reason=reason, hard=hard))

    def look(self, job_id: str) -> Looked:
        return self.ledger.run(self.commands.look(job_id))

    def due(self, node: str = "node", limit: int = 100) -> list[str] | None:
        return self.ledger.run(self.commands.due(node, limit))

    def lost(
        self, started: int | None = None, queue: str = "default", limit: int = 100, first: int = 0
    ) -> list[WakeUp]:
        return self.ledger.run(self.commands.lost(queue, started=started, limit=limit, first=first))

    def replay(self, job_id: str, deadline: float = 600) -> WakeUp | str:
        return self.ledger.run(self.commands.replay(job_id, timedelta(seconds=deadline)))

    def queues(self) -> dict[str, QueueState]:
        return {state.name: state for state in self.ledger.run(self.commands.queues())}

    def status(self, job_id: str) -> JobStatus | None:
        return read_status(job_id, self.client.hmget(self.keys.job(job_id), list(STATUS_FIELDS)))

    # --- behind it

    def state(self, job_id: str) -> str:
        status = self.status(job_id)
        return "" if status is None else str(status.state)

    def stored(self, job_id: str) -> bytes | None:
        return self.client.get(self.keys.result(job_id))

    def outcome(self, job_id: str) -> JobRecord:
        meta = self.stored(job_id)
        assert meta is not None, f"{job_id} has no outcome"
        return outcomes.decode(meta)

    def in_due(self, job_id: str) -> float | None:
        return self.client.zscore(self.keys.due, job_id)

    def runs(self, job_id: str) -> bool:
        """Whether the indexes have it in a worker's hands: it is looked after, and neither waits nor is put off."""
        put_off = self.client.sismember(self.keys.scheduled, job_id)
        return self.in_due(job_id) is not None and not put_off and not self.waits_in(job_id)

    def waits_in(self, job_id: str) -> list[str]:
        """The queues in whose order the job stands."""
        return [
            key.decode().removeprefix(self.keys.waiting(""))
            for key in self.client.scan_iter(match=self._pattern("waiting:*"))
            if self.client.zscore(key, job_id) is not None
        ]

    def field(self, job_id: str, name: str) -> str | None:
        value = self.client.hget(self.keys.job(job_id), name)
        return None if value is None else value.decode()

    def counts(self) -> dict[str, int]:
        return {name.decode(): int(value) for name, value in self.client.hgetall(self.keys.counts).items()}

    def every_key(self) -> list[str]:
        return [key.decode() for key in self.client.scan_iter(match=self._pattern("*"))]

    def keys_without_ttl(self) -> list[str]:
        """Keys that would stay for ever, but for those that are meant to."""
        return [
            key
            for key in self.every_key()
            if self.client.pttl(key) == -1 and not key.removeprefix(self.keys.prefix).startswith(WITHOUT_TTL)
        ]

    def _pattern(self, name: str) -> str:
        return self.keys.prefix.replace("[", "\\[") + name

    # --- time

    def advance(self, seconds: float) -> None:
        """Let time pass for every job: its moments are moved into the past, as far as the ledger can tell."""
        ms = int(seconds * 1000)
        for key in self.client.scan_iter(match=self._pattern("job:*")):
            for name in TIMES:
                if self.client.hexists(key, name):
                    self.client.hincrby(key, name, -ms)
        for job_id in self.client.zrange(self.keys.due, 0, -1):
            self.client.zincrby(self.keys.due, -ms, job_id)
        for queue, progress in self.client.hgetall(f"{self.keys.prefix}started").items():
            sequence, published = map(int, progress.split())
            self.client.hset(f"{self.keys.prefix}started", queue, f"{sequence} {published - ms}")

    def heard(self, act: Callable[[], object], channel: str) -> list[bytes]:
        """What was published on a channel while `act` ran."""
        with self.client.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(channel)
            pubsub.get_message(timeout=1)
            act()
            messages = []
            while (message := pubsub.get_message(timeout=0.05)) is not None:
                messages.append(message["data"])
            return messages

"""Jobs as the words of the script that accepts them.

What jobs that are dispatched together have in common is said once for all of them: the server allocates each word, and
makes one of Lua's of it, as often as it is said.
"""

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby

from dispatcher.model.envelope import Envelope
from dispatcher.model.job import Job
from dispatcher.transport.cache import topics_text
from dispatcher.transport.script import milliseconds


def words_of(jobs: Sequence[Job]) -> list[str | int]:
    """For jobs side by side that have much in common: how many they are, what that is, and what is each job's own."""
    if len(jobs) == 1:
        return [1, *_in_common(jobs[0]), *_own(jobs[0])]
    words: list[str | int] = []
    for common, alike in groupby(jobs, _in_common):
        own = [_own(job) for job in alike]
        words += (len(own), *common)
        for row in own:
            words += row
    return words


def _in_common(job: Job) -> tuple[str | int, ...]:
    """Queue, delay, deadline, the number of words that follow, and these: fields of the record, as name and value."""
    fields: tuple[str | int, ...] = ("function", job.function, "producer", job.producer)
    # What is not said is one call, delivered at least once.
    if len(job.calls) != 1:
        fields += ("calls", len(job.calls))
    if job.delivery != "at_least_once":
        fields += ("delivery", job.delivery)
    delay_ms = milliseconds(job.delay) if job.delay else 0
    return job.queue, delay_ms, milliseconds(job.deadline), len(fields), *fields


def _own(job: Job) -> tuple[str, str, str, str]:
    """Id, arguments shown, envelope, and what few jobs have."""
    envelope = Envelope(function=job.function, version=job.version, calls=job.calls)
    return job.id, job.arguments_shown, envelope.encode(), _what_else(job)


def _what_else(job: Job) -> str:
    """A job's idempotency key, and how its calls are cached, as JSON text; empty for neither."""
    if job.idempotency_key is None and not job.topics:
        return ""
    said: dict[str, str] = {}
    if job.idempotency_key is not None:
        said["idempotency_key"] = job.idempotency_key
        said["idempotency"] = _idempotency_name(job.function, job.idempotency_key)
        said["digest"] = job.digest
    if job.topics:
        said |= {"topics": topics_text(job.topics), "fn": job.function}
    if job.topics and job.flight:
        said |= {"name": job.flight, "producer": job.producer}
    return json.dumps(said)


def _idempotency_name(function: str, key: str) -> str:
    """The key's name in the ledger: of one length, whatever a producer calls its jobs."""
    return f"{function}:{hashlib.sha256(key.encode()).hexdigest()}"

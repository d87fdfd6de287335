"""What the commands write as JSON: one shape each, in one place."""

import json
from datetime import datetime
from typing import Any

from dispatcher.model.job import JobState, JobStatus
from dispatcher.registry.function import Function
from dispatcher.selection.selection import Selection
from dispatcher.transport.outcomes import JobRecord
from dispatcher.transport.replies import DeadLetter

Json = dict[str, Any]


def outcome_data(record: JobRecord) -> Json:
    """How a job of one call ended."""
    call = record.calls[0]
    data: Json = {"state": str(call.state), "attempts": record.attempts, "seconds": record.seconds}
    if call.state is JobState.SUCCEEDED:
        data["value"] = json.loads(call.value or "null")
    return {**data, **call.to_data()}


def status_data(status: JobStatus) -> Json:
    """What the ledger knows of a job."""
    progress = status.progress
    return {
        "id": status.id,
        "function": status.function,
        "queue": status.queue,
        "state": str(status.state),
        "calls": status.calls,
        "attempt": status.attempt,
        "failures": status.failures,
        "lost": status.lost,
        "worker": status.worker or None,
        "accepted_at": _time(status.accepted_at),
        "due_at": _time(status.due_at),
        "started_at": _time(status.started_at),
        "settled_at": _time(status.settled_at),
        "deadline_at": _time(status.deadline_at),
        "cancel_requested": status.cancel_requested,
        "progress": None
        if progress is None
        else {"done": progress.done, "total": progress.total, "message": progress.message},
    }


def letter_data(letter: DeadLetter) -> Json:
    """A dead letter as a list shows it."""
    return {
        "id": letter.id,
        "function": letter.function or None,
        "queue": letter.queue,
        "dead_at": _time(letter.dead_at),
        "reason": letter.reason,
        "arguments_shown": letter.arguments_shown,
        "replayable": letter.replayable,
    }


def selection_data(selection: Selection) -> Json:
    """What the selector said."""
    return {
        "text": selection.text,
        "decision": str(selection.decision),
        "function": selection.function,
        "reason": selection.reason,
        "response": selection.response,
        "choices": [candidate.function for candidate in selection.choices],
        "candidates": [
            {"function": c.function, "probability": round(c.probability, 4), "why": c.why} for c in selection.candidates
        ],
    }


def function_data(function: Function[..., object]) -> Json:
    """Everything about a function that can be said without running it."""
    options = function.options
    return {
        "name": function.name,
        "tool_name": function.tool_name,
        "version": function.version,
        "aliases": list(function.aliases),
        "description": function.description,
        "async": function.is_async,
        "queue": options.queue_name,
        "delivery": options.delivery,
        "timeout_seconds": None if options.timeout is None else options.timeout.total_seconds(),
        "deadline_seconds": None if options.deadline is None else options.deadline.total_seconds(),
        "max_attempts": options.retry.max_attempts,
        "cache_seconds": None if options.cache is None else options.cache.total_seconds(),
        "cache_failures_seconds": None if options.cache_failures is None else options.cache_failures.total_seconds(),
        "sensitive": sorted(options.sensitive),
        "tags": sorted(options.tags),
        "examples": list(options.examples),
        "parameters": function.parameters_schema,
        "result": function.result_schema,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()

"""How a delivery of a wake-up ended, for Celery's events, Flower and logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from dispatcher.model.job import JobState
from dispatcher.registry.redaction import HIDDEN
from dispatcher.transport.outcomes import CallRecord, JobRecord
from dispatcher.transport.replies import Looked


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What became of the job; `dropped` when this delivery did nothing about it."""

    what: Literal["succeeded", "failed", "retried", "cancelled", "expired", "dropped"]
    #: For people: the value, the error, or why it was dropped; redacted.
    text: str = ""
    #: For a retry.
    wait: timedelta = timedelta(0)


def ending_of_record(record: JobRecord, *, hidden: bool) -> Ending:
    """Of a job that was settled.

    Args:
        record: its outcome.
        hidden: whether its value may not be shown.
    """
    first = record.calls[0]
    if len(record.calls) > 1:
        succeeded = sum(call.state is JobState.SUCCEEDED for call in record.calls)
        what: Literal["succeeded", "failed"] = "succeeded" if succeeded else "failed"
        return Ending(what=what, text=f"{succeeded} of {len(record.calls)} calls succeeded")
    if first.state is JobState.SUCCEEDED:
        return Ending(what="succeeded", text=HIDDEN if hidden else first.value or "null")
    if first.state is JobState.FAILED:
        return Ending(what="failed", text=error_text(first))
    return Ending(what="cancelled" if first.state is JobState.CANCELLED else "expired", text=first.reason)


def ending_of_look(looked: Looked) -> Ending:
    """Of a job that was not to be started, and was looked at instead."""
    if looked.action == "expired":
        return Ending(what="expired", text="expired before it was started")
    if looked.action == "cancelled":
        return Ending(what="cancelled", text="cancelled")
    if looked.action == "gave_up":
        return Ending(what="failed", text="given up: its worker was lost as often as is allowed")
    return Ending(what="dropped", text="not to be started now")


def ending_of_refusal(reason: str) -> Ending:
    """Of a job that the ledger did not lease; `reason` as in `NoLease`."""
    if reason == "settled:cancelled":
        return Ending(what="cancelled", text="cancelled before it was started")
    if reason == "settled:expired":
        return Ending(what="expired", text="expired before it was started")
    return Ending(what="dropped", text=reason)


def summary_of(endings: Sequence[Ending]) -> Ending:
    """Of the jobs of one wake-up together: what Celery and Flower show of it."""
    if len(endings) == 1:
        return endings[0]
    succeeded = sum(ending.what == "succeeded" for ending in endings)
    ran = sum(ending.what != "dropped" for ending in endings)
    if ran == 0:
        return Ending(what="dropped", text=f"none of {len(endings)} jobs was to be run")
    what: Literal["succeeded", "failed"] = "succeeded" if succeeded else "failed"
    return Ending(what=what, text=f"{succeeded} of {ran} jobs succeeded")


def error_text(record: CallRecord) -> str:
    """A failed call's error in a line."""
    return "" if record.error is None else str(record.error)

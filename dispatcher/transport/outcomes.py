"""Outcomes in Celery's own result format, so that `AsyncResult(job_id)` reads them.

The stored record is Celery's result meta (`status`, `result`, `traceback`, `children`, `date_done`, `task_id`) with one
field of ours, which Celery ignores:

    "outcome": {"v": 1, "attempts": 2, "seconds": 0.1,
                "calls": [{"state": "succeeded"}, {"state": "failed", "error": {…}}]}

`result` holds the value of a job of one call, and the list of values (null where there is none) of a job of many.
Source: celery.backends.base.Backend._get_result_meta, Celery 5.7.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic_core import from_json

from dispatcher.errors import ResultError
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorInfo, ErrorKind

VERSION = 1

#: `json.dumps` with these separators, which makes an encoder anew each time.
_write = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True, slots=True)
class CallRecord:
    """How one call ended, as it crosses the wire: the value still as JSON text."""

    state: JobState
    #: JSON text, for a call that succeeded.
    value: str | None = None
    error: ErrorInfo | None = None
    #: Why it was cancelled.
    reason: str = ""

    def to_data(self) -> dict[str, Any]:
        data: dict[str, Any] = {"state": str(self.state)}
        if self.error is not None:
            data["error"] = {
                "kind": str(self.error.kind),
                "type": self.error.type,
                "message": self.error.message,
                "traceback": self.error.traceback,
            }
        if self.reason:
            data["reason"] = self.reason
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any], value: str | None) -> "CallRecord":
        error = data.get("error")
        info = ErrorInfo(**{**error, "kind": ErrorKind(error["kind"])}) if error else None
        return cls(state=JobState(data["state"]), value=value, error=info, reason=data.get("reason", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """How a job ended: one record a call."""

    attempts: int
    calls: tuple[CallRecord, ...]
    #: How long the last attempt ran, all calls together.
    seconds: float = 0.0

    @property
    def state(self) -> JobState:
        """Of a job of many calls: succeeded when any call did, else what its first call was."""
        first = self.calls[0].state
        if len(self.calls) > 1 and any(call.state is JobState.SUCCEEDED for call in self.calls):
            return JobState.SUCCEEDED
        return first


def encode(job_id: str, record: JobRecord, now: datetime) -> str:
    """The record as Celery's result meta, in JSON text.

    Written by hand: nearly all calls succeed, and their states read alike (`benchmarks.calls --only separate`).
    """
    first, alone = record.calls[0], len(record.calls) == 1
    result = _celery_result(first) if alone else f"[{','.join(call.value or 'null' for call in record.calls)}]"
    status = _CELERY_STATUS[first.state if alone else JobState.SUCCEEDED]
    traceback = _write(first.error.traceback) if status == "FAILURE" and first.error is not None else "null"
    states = ",".join(_SUCCEEDED if _is_plain(call) else _write(call.to_data()) for call in record.calls)
    return (
        f'{{"result":{result},"status":"{status}","traceback":{traceback},"children":[],'
        f'"date_done":"{now.isoformat()}","task_id":{_write(job_id)},"outcome":{{"v":{VERSION},'
        f'"attempts":{record.attempts},"seconds":{round(record.seconds, 6)},"calls":[{states}]}}}}'
    )


def _is_plain(call: CallRecord) -> bool:
    """Whether nothing is to be said of it but that it succeeded."""
    return call.state is JobState.SUCCEEDED and call.error is None and not call.reason


_SUCCEEDED = _write(CallRecord(state=JobState.SUCCEEDED).to_data())

_CELERY_STATUS = {
    JobState.SUCCEEDED: "SUCCESS",
    JobState.FAILED: "FAILURE",
    JobState.CANCELLED: "REVOKED",
    JobState.EXPIRED: "REVOKED",
}


def _celery_result(call: CallRecord) -> str:
    if call.state is JobState.SUCCEEDED:
        return call.value or "null"
    if call.error is not None:
        module, _, name = call.error.type.rpartition(".")
        exception = {"exc_type": name, "exc_message": [call.error.message], "exc_module": module or "builtins"}
    else:
        message = "expired" if call.state is JobState.EXPIRED else call.reason or "cancelled"
        exception = {
            "exc_type": "TaskRevokedError",
            "exc_message": [message],
            "exc_module": "celery.exceptions",
        }
    return _write(exception)


#: How the record of one call that succeeded ends, as `encode` writes it; before it stands the value.
_SUCCESS_END: Final = b'"calls":[{"state":"succeeded"}]}}'
_SUCCESS_REST: Final = b',"status":"SUCCESS","traceback":null,"children":[],"date_done":"'
_SUCCESS: Final = re.compile(
    re.escape(_SUCCESS_REST)
    + rb'[^"\\]*","task_id":"[^"\\]*","outcome":\{"v":1,"attempts":([0-9]+),"seconds":([0-9.e-]+),'
    + re.escape(_SUCCESS_END)
)


#: What Celery writes of a revoked task takes less.
_CELERYS_WORD_BYTES: Final = 1024


def is_celerys_word(meta: bytes) -> bool:
    """Whether Celery wrote it of a task that somebody revoked: any worker on the same store does. The job goes on."""
    return len(meta) < _CELERYS_WORD_BYTES and b'"REVOKED"' in meta and b'"outcome"' not in meta


def decode(meta: str | bytes) -> JobRecord:
    """Read a stored outcome.

    Raises:
        ResultError: if it is not an outcome of ours, or of a version we do not know.
    """
    return (_decode_success(meta) if isinstance(meta, bytes) else None) or _decode_any(meta)


def _decode_success(meta: bytes) -> JobRecord | None:
    """The commonest record, without parsing its value twice; None for any other, and for one written otherwise.

    Whoever reads the value parses it, and finds whether it is JSON.
    """
    if not (meta.startswith(b'{"result":') and meta.endswith(_SUCCESS_END)):
        return None
    # The last one there is: none can follow it in what comes after a value.
    end = meta.rfind(_SUCCESS_REST)
    rest = _SUCCESS.fullmatch(meta, end) if end > 0 else None
    if rest is None:
        return None
    try:
        call = CallRecord(state=JobState.SUCCEEDED, value=meta[len(b'{"result":') : end].decode())
        return JobRecord(attempts=int(rest[1]), calls=(call,), seconds=float(rest[2]))
    except ValueError:
        return None


def _decode_any(meta: str | bytes) -> JobRecord:
    try:
        data = from_json(meta)
        outcome = data["outcome"]
        if outcome["v"] != VERSION:
            msg = f"the stored outcome has version {outcome['v']!r}; this program reads version {VERSION}"
            raise ResultError(msg)
        calls = outcome["calls"]
        if not calls:
            msg = "the stored outcome holds no call"
            raise ResultError(msg)
        values = [data["result"]] if len(calls) == 1 else data["result"]
        records = tuple(
            CallRecord.from_data(
                call, json.dumps(value, ensure_ascii=False) if call["state"] == JobState.SUCCEEDED else None
            )
            for call, value in zip(calls, values, strict=True)
        )
        return JobRecord(attempts=outcome["attempts"], calls=records, seconds=outcome["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the stored outcome cannot be read: {type(error).__name__}: {error}"
        raise ResultError(msg) from error


def encode_done(done: Mapping[int, CallRecord]) -> str:
    """The outcomes that stand already when a job of many calls is to be tried again."""
    return json.dumps({str(index): {**call.to_data(), "value": call.value} for index, call in done.items()})


def decode_done(text: str) -> dict[int, CallRecord]:
    """Read what `encode_done` wrote; empty text is an empty record."""
    if not text:
        return {}
    return {int(index): CallRecord.from_data(data, data["value"]) for index, data in json.loads(text).items()}


def without_value(state: JobState, *, attempts: int, error: ErrorInfo | None = None, reason: str = "") -> JobRecord:
    """The record of a job that ended as a whole (expired, cancelled, lost): one entry stands for all its calls."""
    return JobRecord(attempts=attempts, calls=(CallRecord(state=state, error=error, reason=reason),))

"""Outcomes in Celery's result format: what is written is what is read, by us and by Celery."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import ResultError
from dispatcher.model.job import JobState
from dispatcher.model.outcome import ErrorInfo, ErrorKind
from dispatcher.transport.outcomes import (
    CallRecord,
    JobRecord,
    decode,
    decode_done,
    encode,
    encode_done,
    without_value,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

texts = st.text(st.characters(codec="utf-8"), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
errors = st.builds(
    ErrorInfo,
    kind=st.sampled_from(ErrorKind),
    type=st.sampled_from(["ValueError", "json.decoder.JSONDecodeError", "tasks.<locals>.Odd"]),
    message=texts,
    traceback=texts,
)
records = st.one_of(
    values.map(lambda value: CallRecord(state=JobState.SUCCEEDED, value=json.dumps(value, ensure_ascii=False))),
    errors.map(lambda error: CallRecord(state=JobState.FAILED, error=error)),
    texts.map(lambda reason: CallRecord(state=JobState.CANCELLED, reason=reason)),
    st.just(CallRecord(state=JobState.EXPIRED)),
)
jobs = st.builds(
    JobRecord,
    attempts=st.integers(0, 1000),
    calls=st.lists(records, min_size=1, max_size=4).map(tuple),
    seconds=st.floats(0, 1e6).map(lambda seconds: round(seconds, 6)),
)


def meta_of(record: JobRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode("job-1", record, NOW))
    return found


def single(call: CallRecord) -> JobRecord:
    return JobRecord(attempts=1, calls=(call,))


def success(value: str = "1") -> CallRecord:
    return CallRecord(state=JobState.SUCCEEDED, value=value)


def failure(kind: str = "ValueError", message: str = "no", traceback: str = "") -> CallRecord:
    error = ErrorInfo(kind=ErrorKind.FUNCTION, type=kind, message=message, traceback=traceback)
    return CallRecord(state=JobState.FAILED, error=error)


@given(jobs, st.text(max_size=20))
def test_it_is_json_whatever_the_job_is_called(record: JobRecord, job_id: str) -> None:
    assert json.loads(encode(job_id, record, NOW))["task_id"] == job_id


@given(jobs)
def test_what_is_written_is_what_is_read(record: JobRecord) -> None:
    read = decode(encode("job-1", record, NOW))
    assert [json.loads(call.value) if call.value else None for call in read.calls] == [
        json.loads(call.value) if call.value else None for call in record.calls
    ]
    assert [(call.state, call.error, call.reason) for call in read.calls] == [
        (call.state, call.error, call.reason) for call in record.calls
    ]
    assert (read.attempts, read.seconds, read.state) == (record.attempts, record.seconds, record.state)


@given(jobs)
def test_what_is_read_from_the_wire_is_what_is_read_from_text(record: JobRecord) -> None:
    text = encode("job-1", record, NOW)
    assert decode(text.encode()) == decode(text)


def test_a_value_that_looks_like_the_end_of_a_record_is_a_value() -> None:
    inner = encode("job-1", single(success('"inner"')), NOW)
    value = json.dumps([inner, json.loads(inner)], separators=(",", ":"))
    assert decode(encode("job-1", single(success(value)), NOW).encode()).calls[0].value == value


def test_a_record_that_another_program_wrote_in_another_order_is_read_too() -> None:
    record = single(success('{"a":1}'))
    turned = dict(reversed(meta_of(record).items()))
    assert json.loads(decode(json.dumps(turned).encode()).calls[0].value or "") == {"a": 1}


@given(jobs)
def test_what_is_written_is_celerys_record(record: JobRecord) -> None:
    meta = meta_of(record)
    assert {"status", "result", "traceback", "children", "date_done", "task_id"} < set(meta)
    assert meta["task_id"] == "job-1"
    assert datetime.fromisoformat(meta["date_done"]) == NOW


@given(st.dictionaries(st.integers(0, 200), records, max_size=5))
def test_what_stands_already_is_read_as_it_was_written(done: dict[int, CallRecord]) -> None:
    assert decode_done(encode_done(done)) == done


def test_nothing_stands_where_nothing_was_written() -> None:
    assert decode_done("") == {}


@pytest.mark.parametrize(
    ("call", "status", "result"),
    [
        (success('{"a": [1]}'), "SUCCESS", {"a": [1]}),
        (success("null"), "SUCCESS", None),
        (failure(), "FAILURE", {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}),
        (
            failure("tasks.money.CardError"),
            "FAILURE",
            {"exc_type": "CardError", "exc_message": ["no"], "exc_module": "tasks.money"},
        ),
        (
            CallRecord(state=JobState.CANCELLED, reason="enough"),
            "REVOKED",
            {"exc_type": "TaskRevokedError", "exc_message": ["enough"], "exc_module": "celery.exceptions"},
        ),
        (
            CallRecord(state=JobState.CANCELLED),
            "REVOKED",
            {"exc_type": "TaskRevokedError", "exc_message": ["cancelled"], "exc_module": "celery.exceptions"},
        ),
        (
            CallRecord(state=JobState.EXPIRED),
            "REVOKED",
            {"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": "celery.exceptions"},
        ),
    ],
)
def test_celery_sees_its_own_states(call: CallRecord, status: str, result: object) -> None:
    meta = meta_of(single(call))
    assert (meta["status"], meta["result"]) == (status, result)


def test_a_failures_traceback_is_where_celery_looks_for_it() -> None:
    assert meta_of(single(failure(traceback="Traceback …")))["traceback"] == "Traceback …"
    assert meta_of(single(success()))["traceback"] is None


def test_a_job_of_many_calls_is_a_list_for_celery_with_null_for_what_failed() -> None:
    meta = meta_of(JobRecord(attempts=1, calls=(success('"a"'), failure(), success("2"))))
    assert (meta["status"], meta["result"]) == ("SUCCESS", ["a", None, 2])


def test_the_state_of_a_job_of_many_is_its_best_then_its_firsts() -> None:
    assert JobRecord(attempts=1, calls=(failure(), success())).state is JobState.SUCCEEDED
    expired = CallRecord(state=JobState.EXPIRED)
    assert JobRecord(attempts=1, calls=(expired, failure())).state is JobState.EXPIRED


def test_one_entry_may_stand_for_a_whole_job() -> None:
    record = without_value(JobState.CANCELLED, attempts=2, reason="why")
    assert (record.state, record.attempts, record.calls[0].reason) == (JobState.CANCELLED, 2, "why")


def test_values_pass_as_they_were_written() -> None:
    exact = '{"big": 123456789012345678901234567890, "text": "naïve 数据 😀"}'
    assert decode(encode("j", single(success(exact)), NOW)).calls[0].value == exact


class TestWhatCannotBeRead:
    good = encode("job-1", JobRecord(attempts=1, calls=(success(), failure())), NOW)

    @pytest.mark.parametrize(
        "broken",
        [
            b"", b"{", b"null", b"[]", b"7", b'"text"', b"\xff\xfe", b"{}",
            b'{"result": 1, "status": "SUCCESS"}',
            b'{"result": 1, "outcome": null}',
            b'{"result": 1, "outcome": {"v": 1}}',
            b'{"result": 1, "outcome": {"v": 1, "attempts": 1, "seconds": 0, "calls": 7}}',
            b'{"result": 1, "outcome": {"v": 1, "attempts": 1, "seconds": 0, "calls": ["x"]}}',
            b'{"result": 1, "outcome": {"v": 1, "attempts": 1, "seconds": 0, "calls": [{"state": "odd"}]}}',
            b'{"result": 1, "outcome": {"v": 1, "attempts": 1, "seconds": 0, "calls": [{"state": "failed", "error": {"kind": "odd"}}]}}',
            b'{"result": 1, "outcome": {"v": 1, "attempts": 1, "seconds": 0, "calls": [{"state": "failed", "error": "x"}]}}',
            b'{"result": [1], "outcome": {"v": 1, "attempts": 1, "seconds": 0, "calls": [{"state": "expired"}, {"state": "expired"}]}}',
            b'{"result": [], "outcome": {"v": 1, "attempts": 1, "seconds": 0, "calls": []}}',
            b'{"result": ' + b"[" * 100_000 + b"}",
        ],
    )  # fmt: skip
    def test_is_an_error_of_ours(self, broken: bytes) -> None:
        with pytest.raises(ResultError):
            decode(broken)

    def test_a_version_from_the_future_is_named(self) -> None:
        with pytest.raises(ResultError, match="version 2; this program reads version 1"):
            decode(self.good.replace('"v":1', '"v":2'))

    @given(st.data())
    def test_whatever_is_cut_off_is_an_error_of_ours(self, data: st.DataObject) -> None:
        length = data.draw(st.integers(0, len(self.good) - 1))
        with pytest.raises(ResultError):
            decode(self.good[:length])

    @given(st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["v", "calls", "state", "error", "kind", "attempts", "seconds"]), inner), max_leaves=10))  # fmt: skip
    def test_whatever_stands_in_the_outcome_is_read_or_an_error_of_ours(self, outcome: object) -> None:
        with contextlib.suppress(ResultError):
            decode(json.dumps({"result": [1], "outcome": outcome}))

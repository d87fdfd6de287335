"""A Function as a Celery task: which message is what, and what Celery is told of an ending."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.exceptions import Ignore
from celery.exceptions import Retry as CeleryRetry
from celery.worker.request import Request
from celery.worker.state import active_requests
from kombu import Connection
from kombu.transport.virtual import Message

from dispatcher import Registry, RetryPolicy
from dispatcher.execution import celery_task
from dispatcher.execution.celery_task import FunctionTask, JobFailed, ShownRequest, register
from dispatcher.execution.ending import Ending
from dispatcher.transport.message import BODY, BODY_TEXT, OTHERS_HEADER, WAKE_UP_HEADER, write_message
from dispatcher.transport.replies import WakeUp

registry = Registry()


@registry.function(aliases=["old.name"], retry=RetryPolicy(max_attempts=2, jitter=False))
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


class FakeExecutor:
    def __init__(self, ending: Ending | None = None) -> None:
        self.ending = ending
        self.executed: list[tuple[str, str]] = []
        self.early: list[tuple[str, str]] = []
        self.called: list[str] = []
        self.error: Exception | None = None

    def execute(self, job_id: str, worker: str) -> Ending:
        self.executed.append((job_id, worker))
        assert self.ending is not None
        return self.ending

    def ask_early(self, job_id: str, worker: str) -> None:
        self.early.append((job_id, worker))

    def call_directly(self, _function: object, arguments: str, _job_id: str) -> str:
        self.called.append(arguments)
        if self.error is not None:
            raise self.error
        return '{"sum": 3}'


def task_with(executor: FakeExecutor, **request: Any) -> FunctionTask:
    app = Celery("test", set_as_current=False, broker="memory://")
    register(app, registry, lambda: executor)  # type: ignore[arg-type,return-value]
    task = app.tasks["add"]
    # Not `push_request`, which adds to what an earlier test has pushed.
    task.request_stack.push(Context(id="job-1", hostname="w@h", retries=0, called_directly=False, **request))
    task.events: list[tuple[str, dict[str, Any]]] = []  # type: ignore[misc]
    task.send_event = lambda kind, **fields: task.events.append((kind, fields))
    return task


WAKE_UP = {WAKE_UP_HEADER: 1}


def test_a_function_is_a_task_under_its_name_and_its_aliases() -> None:
    app = task_with(FakeExecutor()).app
    assert {"add", "old.name"} <= set(app.tasks)
    assert app.tasks["old.name"].function is add
    assert app.tasks["add"].__doc__ == "Add two numbers."


def test_a_wake_up_is_the_ledgers_whatever_arguments_it_carries() -> None:
    executor = FakeExecutor(Ending(what="succeeded", text="3"))
    assert repr(task_with(executor, **WAKE_UP).run("nonsense", more=1)) == "3"
    assert executor.executed == [("job-1", "w@h")]
    assert executor.called == []


def test_only_a_wake_up_for_one_job_asks_early() -> None:
    executor = FakeExecutor()
    task = task_with(executor)
    task.ask_early({"id": "job-1", "hostname": "w@h", WAKE_UP_HEADER: 1})
    task.ask_early({"id": "job-2", "hostname": None, WAKE_UP_HEADER: 1})
    task.ask_early({"id": "job-3", "hostname": "w@h", WAKE_UP_HEADER: 1, OTHERS_HEADER: ["job-4"]})
    task.ask_early({"id": "a-plain-call", "hostname": "w@h"})
    assert executor.early == [("job-1", "w@h"), ("job-2", "")]


def test_who_waits_for_the_outcome_goes_before_the_book_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = FakeExecutor(Ending(what="succeeded", text="3"))
    done: list[list[tuple[str, str]]] = []
    monkeypatch.setattr(celery_task, "_let_others_run", lambda: done.append(list(executor.executed)))
    task_with(executor, **WAKE_UP).run()
    assert done == [[("job-1", "w@h")]], "once, when the job has ended"


def test_a_failed_job_is_shown_as_failed() -> None:
    with pytest.raises(JobFailed, match="ValueError: no"):
        task_with(FakeExecutor(Ending(what="failed", text="ValueError: no")), **WAKE_UP).run()


def test_a_retried_job_is_shown_as_retried_with_its_wait() -> None:
    with pytest.raises(CeleryRetry) as caught:
        task_with(FakeExecutor(Ending(what="retried", text="busy", wait=timedelta(seconds=3))), **WAKE_UP).run()
    assert caught.value.when == 3


@pytest.mark.parametrize(("what", "expired"), [("cancelled", False), ("expired", True)])
def test_a_job_that_ended_without_running_is_shown_as_revoked(what: Any, expired: bool) -> None:
    task = task_with(FakeExecutor(Ending(what=what)), **WAKE_UP)
    with pytest.raises(Ignore):
        task.run()
    assert task.events == [("task-revoked", {"terminated": False, "signum": None, "expired": expired})]


def test_a_wake_up_that_was_dropped_says_nothing() -> None:
    task = task_with(FakeExecutor(Ending(what="dropped")), **WAKE_UP)
    with pytest.raises(Ignore):
        task.run()
    assert task.events == []


class TestPlainCalls:
    def test_arguments_are_checked_and_the_value_is_celerys(self) -> None:
        executor = FakeExecutor()
        assert task_with(executor).run(1, b=2) == {"sum": 3}
        assert executor.called == ['{"a":1,"b":2}']
        assert executor.executed == []

    @pytest.mark.parametrize(
        "call", [lambda task: task.run(), lambda task: task.run(1, 2, 3), lambda task: task.run("x")]
    )
    def test_wrong_arguments_are_an_error_and_nothing_runs(self, call: Callable[[Any], object]) -> None:
        from dispatcher.errors import InvalidArgumentsError

        executor = FakeExecutor()
        with pytest.raises(InvalidArgumentsError):
            call(task_with(executor))
        assert executor.called == []

    def test_the_functions_retry_policy_becomes_celerys_retry(self) -> None:
        executor = FakeExecutor()
        executor.error = ConnectionError("busy")
        task = task_with(executor)
        asked: list[dict[str, Any]] = []

        def retry(**options: Any) -> Exception:
            asked.append(options)
            return CeleryRetry()

        task.retry = retry
        with pytest.raises(CeleryRetry):
            task.run(1)
        assert (asked[0]["countdown"], asked[0]["max_retries"]) == (1, None)

    def test_the_last_attempts_error_is_celerys(self) -> None:
        executor = FakeExecutor()
        executor.error = ConnectionError("busy")
        task = task_with(executor)
        task.request.retries = 1
        with pytest.raises(ConnectionError, match="busy"):
            task.run(1)


class TestRequests:
    """What Celery is given of a wake-up is what it would have worked out itself."""

    def request(self, kind: type[Request], body: str = BODY_TEXT, **headers: Any) -> Request:
        task = task_with(FakeExecutor())
        wake_up = WakeUp(job_id="job-1", function="add", queue="q", shown='{"a":1}', others=("job-2",))
        payload = json.loads(write_message(wake_up, "origin"))
        payload["body"] = body
        payload["headers"] |= headers
        payload["properties"]["delivery_tag"] = "tag"
        message = Message(payload, channel=Connection("memory://").channel(), accept={"application/json"})
        return kind(message, app=task.app, task=task, hostname="w@h", headers=message.headers, body=message.body)

    def test_the_pool_decodes_no_body_of_a_wake_up(self) -> None:
        request = self.request(ShownRequest)
        assert request.body == BODY
        assert (request.content_type, request.content_encoding) == (None, None)
        assert (request.args, request.kwargs) == ([], {})

    @pytest.mark.parametrize(
        ("fetches", "late", "acknowledged"), [(False, False, 1), (True, False, 0), (False, True, 0)]
    )
    def test_a_message_in_a_process_makes_room_for_another_where_none_is_left(
        self, monkeypatch: pytest.MonkeyPatch, fetches: bool, late: bool, acknowledged: int
    ) -> None:
        request, noted = self.request(ShownRequest), []
        request._on_ack = lambda *_: noted.append("acknowledged")
        monkeypatch.setattr(request._message.channel.qos, "can_consume", lambda: fetches)
        monkeypatch.setattr(request.task, "acks_late", late)
        request.on_given()
        request.on_given()
        assert len(noted) == acknowledged

    def test_a_cold_shutdown_finds_what_began_a_moment_ago(self, monkeypatch: pytest.MonkeyPatch) -> None:
        request, ended = self.request(ShownRequest), []
        request.on_given()
        assert request in active_requests
        pool = SimpleNamespace(
            _pool=SimpleNamespace(see_begun=lambda: request.on_accepted(4711, 1.5)),
            terminate_job=lambda pid, _: ended.append(pid),
        )
        request.cancel(pool)
        assert ended == [4711]

    def test_another_body_is_decoded_as_ever(self) -> None:
        own = self.request(ShownRequest, base64.b64encode(b"[[1],{},{}]").decode())
        celerys = self.request(Request, base64.b64encode(b"[[1],{},{}]").decode())
        assert (own.body, own.content_type, own.args) == (celerys.body, celerys.content_type, [1])

    @pytest.mark.parametrize("headers", [{}, {"traceparent": "00-1", "baggage": {"a": 1}}, {"headers": {"x": 1}}])
    def test_a_tasks_own_headers_are_those_that_celery_finds(self, headers: dict[str, Any]) -> None:
        own, celerys = self.request(ShownRequest, **headers), self.request(Request, **headers)
        assert own.request_dict["headers"] == Context(celerys.request_dict).headers
        assert vars(Context(own.request_dict)) == vars(Context(celerys.request_dict))

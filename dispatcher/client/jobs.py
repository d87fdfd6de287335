"""From calls and the options of a dispatch to the Job that the ledger is asked to accept."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar, get_args

from typing_extensions import TypedDict

from dispatcher.errors import CallRefusedError
from dispatcher.model.call import Call
from dispatcher.model.duration import check_duration
from dispatcher.model.ids import new_id
from dispatcher.model.job import Job, Priority
from dispatcher.registry.function import Function
from dispatcher.transport.cache import entry_name, topics_of

R = TypeVar("R")

#: Characters of an idempotency key: far more than any id, and little enough to keep one for each job.
LONGEST_KEY = 1_000
#: Characters of a reason for cancelling that are kept.
LONGEST_REASON = 1_000


def check_dispatch(call: object, *, deadline: object, delay: object, idempotency_key: object) -> None:
    """Refuse what a caller without a type checker may have confused, before it is taken for something else.

    Raises:
        TypeError: that is no call, or one of the options is of another type.
    """
    check_call(call)
    check_deadline(deadline)
    if delay is not None:
        check_duration("delay", delay)
    if idempotency_key is not None and not isinstance(idempotency_key, str):
        msg = f"an idempotency key is text, not {idempotency_key!r:.60}"
        raise TypeError(msg)


def check_call(call: object) -> None:
    """Refuse what is no call; a function is the likeliest.

    Raises:
        TypeError: says how a call is made.
    """
    if not isinstance(call, Call):
        what = f"the function {call.name} itself" if isinstance(call, Function) else f"{call!r:.60}"
        msg = f"a call is dispatched, not {what}; write function.call(…), or registry.bind(name, arguments)"
        raise TypeError(msg)


def check_deadline(deadline: object) -> None:
    """Refuse what is no deadline: neither a moment, nor a time from now, nor None.

    Raises:
        TypeError: says what to write.
    """
    if deadline is not None and not isinstance(deadline, datetime):
        check_duration("deadline", deadline)


class JobOptions(TypedDict, total=False):
    """How calls are dispatched, as `Dispatcher.dispatch` says; what is left out is None, the function's own."""

    idempotency_key: str | None
    deadline: timedelta | datetime | None
    delay: timedelta | None
    priority: Priority | None


def choose_job(
    function: Function[..., Any],
    calls: Sequence[Call[R]],
    options: JobOptions,
    *,
    producer: str,
    default_deadline: timedelta,
    now: datetime,
    shared: bool = False,
) -> Job:
    """As `make_job`, by the options of a dispatch.

    Raises:
        CallRefusedError: as `make_job`, `time_left` and `check_delay` do.
    """
    deadline, delay = options.get("deadline"), options.get("delay")
    left = time_left(function, deadline, default=default_deadline, now=now)
    if deadline is None and delay is not None:
        check_delay(function, left, delay)
    return make_job(
        function,
        calls,
        producer=producer,
        deadline=left,
        delay=delay,
        priority=options.get("priority"),
        idempotency_key=options.get("idempotency_key"),
        shared=shared,
    )


def make_job(
    function: Function[..., Any],
    calls: Sequence[Call[R]],
    *,
    producer: str,
    deadline: timedelta,
    delay: timedelta | None,
    priority: Priority | None,
    idempotency_key: str | None,
    shared: bool = False,
) -> Job:
    """A job of one or many calls of a function; what is None takes the function's own.

    Args:
        function: what the calls are of.
        calls: at least one.
        producer: whose collector is to hear of the outcome.
        deadline: from acceptance.
        delay: from acceptance.
        priority: of the queue.
        idempotency_key: stands for all calls of the job together.
        shared: whether equal calls may share it; of one call, of a function that keeps its results.

    Raises:
        CallRefusedError: the options contradict each other, there is no such priority, or the key is no text that can
            be kept.
    """
    options = function.options
    delay = timedelta(0) if delay is None else delay
    _check_key(function, idempotency_key)
    if priority is not None and priority not in get_args(Priority):
        # Of a caller without a type checker: no worker would ever look into such a queue.
        msg = f"{function.name}: there is no priority {priority!r}; it is one of {', '.join(get_args(Priority))}"
        raise CallRefusedError(msg)
    shown = function.show(calls[0].arguments)
    return Job(
        id=new_id(),
        function=function.name,
        version=calls[0].version,
        calls=tuple(call.arguments for call in calls),
        queue=options.queue_name if priority is None else options.queue_of(priority),
        deadline=deadline,
        delay=delay,
        delivery=options.delivery,
        idempotency_key=idempotency_key,
        digest="" if idempotency_key is None else _digest(calls),
        producer=producer,
        topics=topics_of(function, calls[0].version),
        flight=entry_name(calls[0]) if shared else "",
        arguments_shown=shown if len(calls) == 1 else f"{len(calls)} calls, the first: {shown}",
    )


def time_left(
    function: Function[..., Any], deadline: timedelta | datetime | None, *, default: timedelta, now: datetime
) -> timedelta:
    """From now to the deadline that was asked for, else the function's, else `default`.

    Raises:
        CallRefusedError: the deadline is a moment without a time zone.
    """
    if deadline is None:
        return default if function.options.deadline is None else function.options.deadline
    if isinstance(deadline, timedelta):
        return deadline
    if deadline.tzinfo is None:
        msg = f"{function.name}: a deadline needs a time zone, as in datetime.now(UTC) + timedelta(hours=1)"
        raise CallRefusedError(msg)
    return deadline - now


def check_delay(function: Function[..., Any], deadline: timedelta, delay: timedelta) -> None:
    """Refuse a delay that outlasts a deadline which the caller did not choose.

    Raises:
        CallRefusedError: the job would expire before it may run.
    """
    if timedelta(0) < delay >= deadline:
        msg = (
            f"{function.name}: with a delay of {delay.total_seconds():g} s it would expire before it may run: with no "
            f"deadline given, it has one after {deadline.total_seconds():g} s; give it a later one"
        )
        raise CallRefusedError(msg)


def _check_key(function: Function[..., Any], key: str | None) -> None:
    if key is None:
        return
    if not 0 < len(key) <= LONGEST_KEY:
        msg = f"{function.name}: an idempotency key has 1 to {LONGEST_KEY:,} characters, not {len(key):,}"
        raise CallRefusedError(msg)
    try:
        key.encode()
    except UnicodeEncodeError:
        msg = f"{function.name}: the idempotency key holds a lone surrogate, which is no character"
        raise CallRefusedError(msg) from None


def sendable(reason: str) -> str:
    """A reason for cancelling as the ledger keeps it, and tells it to a worker with each heartbeat."""
    return reason[:LONGEST_REASON].encode("utf-8", "replace").decode()


def _digest(calls: Sequence[Call[R]]) -> str:
    if len(calls) == 1:
        return calls[0].digest
    return hashlib.sha256("\n".join(call.digest for call in calls).encode()).hexdigest()

"""Calls a function's own code: a `def` in this thread, an `async def` on the process's event loop."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dispatcher.execution import supervisor
from dispatcher.execution.context import INTERRUPTION_TEXT, Attempt, CurrentJob, UnderWay, set_current_job
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.registry.function import Function

AnyFunction = Function[..., Any]
Invoke = Callable[[tuple[object, ...], dict[str, object]], object]


class Invoker:
    """One a process.

    Args:
        coroutines: what runs them.
    """

    def __init__(self, coroutines: CoroutineRunner) -> None:
        self._coroutines = coroutines

    def close(self) -> None:
        """End the event loop."""
        self._coroutines.close()

    @contextmanager
    def ready(self, function: AnyFunction, attempt: Attempt, job: CurrentJob | None) -> Iterator[Invoke]:
        """What calls a function again and again, with `job` as its current job, each time in a context of its own.

        It raises Interrupted when the function was told to stop and did, however it put it, else what the function
        raised.
        """
        context = context_of(job)
        process = os.getpid()
        call = self._coroutine_caller(function, attempt) if function.is_async else _function_caller(function, attempt)

        def invoke(args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            try:
                return call(context.copy(), args, kwargs)
            except BaseException as error:
                raise_interrupted(attempt, error)
                raise
            finally:
                if os.getpid() != process:
                    # A child that the function forked came back out of it: it must not settle the job, nor read our
                    # pipes.
                    os._exit(1)

        # A coroutine is interrupted on the loop, never in the thread that waits for it.
        attempt.thread = None if function.is_async else threading.current_thread()
        in_main_thread = attempt.thread is threading.main_thread()
        if in_main_thread:
            supervisor.run_in_main_thread(attempt)
        try:
            yield invoke
        finally:
            if in_main_thread:
                supervisor.run_in_main_thread(None)

    def _coroutine_caller(self, function: AnyFunction, attempt: Attempt) -> Callable[..., object]:
        async def run(args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            attempt.task = asyncio.current_task()
            raise_if_interrupted(attempt)
            return await function.callable(*args, **kwargs)  # type: ignore[misc]  # is_async says that it can be

        def call(context: contextvars.Context, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            waited_for = attempt.waited_for = context.run(self._coroutines.submit, run(args, kwargs))
            try:
                return self._coroutines.result(waited_for)
            finally:
                attempt.task = attempt.waited_for = None

        return call


def _function_caller(function: AnyFunction, attempt: Attempt) -> Callable[..., object]:
    code = function.callable

    def call(context: contextvars.Context, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        try:
            attempt.interruptible = True
            raise_if_interrupted(attempt)
            return context.run(code, *args, **kwargs)
        finally:
            attempt.interruptible = False

    return call


def context_of(job: CurrentJob | None) -> contextvars.Context:
    """A copy of the caller's context with `job` as its current job."""
    context = contextvars.copy_context()
    context.run(set_current_job, job)
    return context


def raise_if_interrupted(call: UnderWay) -> None:
    """Do not begin what must stop already."""
    if call.interruption is not None:
        raise call.interruption(INTERRUPTION_TEXT[call.interruption])


def raise_interrupted(call: UnderWay, error: BaseException) -> None:
    """However a function put it: what was told to stop and raises was stopped."""
    if call.interruption is not None and not isinstance(error, call.interruption):
        raise call.interruption(INTERRUPTION_TEXT[call.interruption]) from error

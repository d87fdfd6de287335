"""Calls a function's own code: a `def` in this thread, an `async def` on the process's event loop."""

import asyncio
import contextvars
import os
import threading
from typing import Any, Self, TypeAlias

from dispatcher.execution import supervisor
from dispatcher.execution.context import INTERRUPTION_TEXT, Attempt, CurrentJob, UnderWay, set_current_job
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.registry.function import Function

AnyFunction = Function[..., Any]
#: What a function is called with.
Arguments: TypeAlias = tuple[tuple[object, ...], dict[str, object]]


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

    def ready(self, function: AnyFunction, attempt: Attempt, job: CurrentJob | None) -> "Ready":
        """What calls a function again and again, with `job` as its current job."""
        return Ready(self._coroutines, function, attempt, job)


class Ready:
    """Calls a function, each time in a context of its own. Only inside `with`."""

    def __init__(
        self, coroutines: CoroutineRunner, function: AnyFunction, attempt: Attempt, job: CurrentJob | None
    ) -> None:
        self._coroutines = coroutines
        self._code = function.callable
        self._attempt = attempt
        self._context = context_of(job)
        self._process = os.getpid()
        self._is_async = function.is_async
        # A coroutine is interrupted on the loop, never in the thread that waits for it.
        attempt.thread = None if function.is_async else threading.current_thread()
        self._in_main_thread = attempt.thread is threading.main_thread()

    def __enter__(self) -> Self:
        if self._in_main_thread:
            supervisor.run_in_main_thread(self._attempt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._in_main_thread:
            supervisor.run_in_main_thread(None)

    def __call__(self, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Call it.

        Raises:
            Interrupted: it was told to stop and did, however it put it.
            Exception: what else it raised.
        """
        try:
            return self._call_coroutine(args, kwargs) if self._is_async else self._call_function(args, kwargs)
        except BaseException as error:
            raise_interrupted(self._attempt, error)
            raise
        finally:
            if os.getpid() != self._process:
                # A child that the function forked came back out of it: it must not settle the job, nor read our pipes.
                os._exit(1)

    def _call_function(self, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        try:
            self._attempt.interruptible = True
            raise_if_interrupted(self._attempt)
            return self._context.copy().run(self._code, *args, **kwargs)
        finally:
            self._attempt.interruptible = False

    def _call_coroutine(self, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        attempt = self._attempt
        submitted = self._context.copy().run(self._coroutines.submit, self._run_coroutine(args, kwargs))
        attempt.waited_for = submitted
        try:
            return self._coroutines.result(submitted)
        finally:
            attempt.task = attempt.waited_for = None

    async def _run_coroutine(self, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        self._attempt.task = asyncio.current_task()
        raise_if_interrupted(self._attempt)
        return await self._code(*args, **kwargs)  # type: ignore[misc]  # is_async says that it can be


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

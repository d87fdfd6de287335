"""Calls a function's own code: a `def` in this thread, an `async def` on the process's event loop."""

import asyncio
import contextvars
import os
import threading
from typing import Any

from dispatcher.execution import supervisor
from dispatcher.execution.context import INTERRUPTION_TEXT, Attempt, CurrentJob, set_current_job
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.registry.function import Function

AnyFunction = Function[..., Any]


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

    def call(
        self,
        function: AnyFunction,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        attempt: Attempt,
        job: CurrentJob | None,
    ) -> object:
        """Call it, with `job` as its current job, and in a context of its own.

        Raises:
            Interrupted: when it was told to stop and did, however it put it.
            BaseException: what the function raised.
        """
        context = contextvars.copy_context()
        context.run(set_current_job, job)
        call = self._call_coroutine if function.is_async else self._call_function
        process = os.getpid()
        try:
            return call(function, args, kwargs, attempt, context)
        except BaseException as error:
            if attempt.interruption is not None and not isinstance(error, attempt.interruption):
                raise attempt.interruption(INTERRUPTION_TEXT[attempt.interruption]) from error
            raise
        finally:
            if os.getpid() != process:
                # A child that the function forked came back out of it: it must not settle the job, nor read our pipes.
                os._exit(1)

    def _call_function(
        self,
        function: AnyFunction,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        attempt: Attempt,
        context: contextvars.Context,
    ) -> object:
        attempt.thread = threading.current_thread()
        in_main_thread = attempt.thread is threading.main_thread()
        if in_main_thread:
            supervisor.run_in_main_thread(attempt)
        try:
            attempt.interruptible = True
            if attempt.interruption is not None:
                raise attempt.interruption(INTERRUPTION_TEXT[attempt.interruption])
            return context.run(function.callable, *args, **kwargs)
        finally:
            attempt.interruptible = False
            if in_main_thread:
                supervisor.run_in_main_thread(None)

    def _call_coroutine(
        self,
        function: AnyFunction,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        attempt: Attempt,
        context: contextvars.Context,
    ) -> object:
        async def run() -> object:
            attempt.task = asyncio.current_task()
            if attempt.interruption is not None:
                raise attempt.interruption(INTERRUPTION_TEXT[attempt.interruption])
            return await function.callable(*args, **kwargs)  # type: ignore[misc]  # is_async says that it can be

        waited_for = attempt.waited_for = context.run(self._coroutines.submit, run())
        try:
            return self._coroutines.result(waited_for)
        finally:
            attempt.task = attempt.waited_for = None

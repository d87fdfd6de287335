"""Makes the calls of a run: one after the other, or those of an `async def` at once, up to a limit."""

import asyncio
import contextvars
import inspect
import json
import logging
import signal
import threading
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Final

from dispatcher.clock import Clock
from dispatcher.errors import CallTimedOut
from dispatcher.execution.context import INTERRUPTION_TEXT, Attempt, CurrentJob, OneOfMany, set_current_job
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.execution.failure import describe, secrets_of
from dispatcher.execution.invoke import (
    AnyFunction,
    Arguments,
    Invoker,
    Ready,
    raise_if_interrupted,
    raise_interrupted,
)
from dispatcher.execution.run import Problem, Run
from dispatcher.execution.supervisor import Supervisor
from dispatcher.model.job import JobState
from dispatcher.settings import Settings
from dispatcher.transport.outcomes import CallRecord

logger = logging.getLogger(__name__)

#: Characters of arguments that are loaded together, before the first call: that takes less than a millisecond.
LOADED_TOGETHER: Final = 64 * 1024


class CallMaker:
    """One a process.

    Args:
        coroutines: runs those of the process.
        supervisor: is told when calls must end.
        clock: for timeouts.
        settings: timeout and limit of functions that set none.
    """

    def __init__(self, coroutines: CoroutineRunner, supervisor: Supervisor, clock: Clock, settings: Settings) -> None:
        self._coroutines = coroutines
        self._invoker = Invoker(coroutines)
        self._supervisor = supervisor
        self._clock = clock
        self._default_timeout = settings.default_timeout_seconds
        self._calls_at_once = settings.calls_at_once

    def make(self, run: Run, function: AnyFunction) -> None:
        """Make the calls that have no outcome yet, until all have ended or the job must stop."""
        missing = run.missing()
        if len(missing) > 1 and function.is_async and self._at_once(function) > 1:
            self._make_at_once(run, function, missing)
        else:
            self._make_in_turn(run, function, missing)

    def make_one(self, function: AnyFunction, arguments: str, attempt: Attempt) -> str:
        """Make the call of a plain Celery task, which is no job's.

        Returns:
            The result as JSON text.
        """
        self._begin(attempt, self._clock.monotonic() + self._timeout(function))
        args, kwargs = function.load_arguments(arguments)
        with self._invoker.ready(function, attempt, job=None) as invoke:
            return function.dump_result(invoke(args, kwargs))

    def close(self) -> None:
        """End the event loop."""
        self._invoker.close()

    # --- one after the other ------------------------------------------------------------------------------------

    def _make_in_turn(self, run: Run, function: AnyFunction, missing: list[int]) -> None:
        attempt, timeout = run.attempt, self._timeout(function)
        loaded = run.loaded or _load_all(function, run, missing)
        with self._invoker.ready(function, attempt, CurrentJob(attempt, self._clock)) as invoke:
            for index in missing:
                now = self._clock.monotonic()
                run.current = index
                if now >= run.deadline or not self._begin(attempt, min(run.deadline, now + timeout)):
                    return
                result = self._call(function, run.calls[index], loaded.pop(index, None), invoke)
                if not attempt.end_call():
                    return
                _note(run, index, result)

    def _begin(self, attempt: Attempt, stop_at: float) -> bool:
        begun = attempt.begin_call(stop_at)
        self._supervisor.expect(stop_at)
        return begun

    def _call(
        self, function: AnyFunction, text: str, arguments: Arguments | None, invoke: Ready
    ) -> CallRecord | Problem:
        from_function = False
        try:
            arguments = arguments or function.load_arguments(text)
            from_function = True
            value = invoke(*arguments)
            from_function = False
            return CallRecord(state=JobState.SUCCEEDED, value=function.dump_result(value))
        except BaseException as error:  # one of the places that must survive anything; recorded below
            # GeneratorExit: nobody drives any more what waits for a coroutine.
            if _is_shutdown(error) or (function.is_async and isinstance(error, GeneratorExit)):
                raise
            return problem_of(function, text, arguments, error, from_function=from_function)

    # --- at once ------------------------------------------------------------------------------------------------

    def _make_at_once(self, run: Run, function: AnyFunction, missing: list[int]) -> None:
        attempt = run.attempt
        together = _Together(self, run, function, self._at_once(function))
        waited_for = attempt.waited_for = self._coroutines.submit(together.make(missing))
        try:
            self._coroutines.result(waited_for)
        except CancelledError:
            # The supervisor gave the attempt up, and with it the wait for its calls.
            if not attempt.abandoned:
                raise
        finally:
            attempt.waited_for = None
        if together.ending is not None:
            raise together.ending

    def begin_one(self, run: Run, call: OneOfMany, timeout: float) -> bool:
        """Start the time of one of several calls; False when no more may be started."""
        now = self._clock.monotonic()
        stop_at = call.stop_at = min(run.deadline, now + timeout)
        if now >= run.deadline or not run.attempt.begin_one(call):
            return False
        self._supervisor.expect(stop_at)
        return True

    def job_of(self, run: Run, call: OneOfMany | None = None) -> CurrentJob:
        """What `current_job` gives in a call."""
        return CurrentJob(run.attempt, self._clock, call)

    def _at_once(self, function: AnyFunction) -> int:
        return function.options.at_once or self._calls_at_once

    def _timeout(self, function: AnyFunction) -> float:
        timeout = function.options.timeout
        return self._default_timeout if timeout is None else timeout.total_seconds()


class _Together:
    """The calls of one run on the event loop, each in a task of its own."""

    def __init__(self, maker: CallMaker, run: Run, function: AnyFunction, limit: int) -> None:
        self._maker = maker
        self._run = run
        self._function = function
        self._limit = limit
        self._timeout = maker._timeout(function)  # noqa: SLF001 - a part of the maker
        self._free: asyncio.Future[None] | None = None
        #: The worker's own end, raised by a call.
        self.ending: BaseException | None = None

    async def make(self, missing: list[int]) -> None:
        """Make the calls; returns when all have ended or were abandoned."""
        try:
            await self._make(missing)
        except asyncio.CancelledError:
            # Nobody waits for them any more: the worker ends, or Celery terminates the task.
            for call in self._run.attempt.calls.copy().values():
                if call.task is not None:
                    call.task.cancel()
            raise

    async def _make(self, missing: list[int]) -> None:
        loop, run = asyncio.get_running_loop(), self._run
        loaded = _load_all(self._function, run, missing)
        context = contextvars.copy_context()
        for index in missing:
            while len(run.attempt.calls) >= self._limit:
                await self._wait_for_one(loop)
            call = OneOfMany(index=index, loop=loop, on_end=self._on_end)
            if self.ending is not None or not self._maker.begin_one(run, call, self._timeout):
                break
            coroutine = self._make_one(call, run.calls[index], loaded.pop(index, None))
            call.task = loop.create_task(coroutine, context=context.copy())
        while run.attempt.calls:
            await self._wait_for_one(loop)

    async def _wait_for_one(self, loop: asyncio.AbstractEventLoop) -> None:
        self._free = loop.create_future()
        await self._free

    async def _make_one(self, call: OneOfMany, text: str, arguments: Arguments | None) -> None:
        function, from_function = self._function, False
        result: CallRecord | Problem | None = None
        try:
            set_current_job(self._maker.job_of(self._run, call))
            arguments = arguments or function.load_arguments(text)
            from_function = True
            value = await _call_coroutine(call, function, arguments)
            from_function = False
            result = CallRecord(state=JobState.SUCCEEDED, value=function.dump_result(value))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - one of the places that must survive anything; recorded below
            if _is_shutdown(error):
                self.ending = error
            else:
                result = problem_of(function, text, arguments, error, from_function=from_function)
        if call.end_call():
            if result is not None:
                _note(self._run, call.index, result)
            self._on_end(call)

    def _on_end(self, call: OneOfMany) -> None:
        run = self._run
        if call.abandoned and call.index in run.attempt.calls and not run.attempt.abandoned:
            logger.error("call_did_not_stop", extra={"job_id": run.attempt.job_id, "function": run.attempt.function})
            run.problems[call.index] = problem_of_abandoned(call.interruption or CallTimedOut)
            run.strays += 1
        run.attempt.calls.pop(call.index, None)
        if self._free is not None and not self._free.done():
            self._free.set_result(None)


async def _call_coroutine(call: OneOfMany, function: AnyFunction, arguments: Arguments) -> object:
    try:
        raise_if_interrupted(call)
        return await function.callable(*arguments[0], **arguments[1])  # type: ignore[misc]  # is_async says that it can be
    except BaseException as error:
        if not _is_being_closed(error):
            raise_interrupted(call, error)
        raise


def _is_being_closed(error: BaseException) -> bool:
    """Whether the coroutine that caught it is left for good, and must let it pass.

    What closes a coroutine is raised in its own frame. What the awaited function raises comes from a frame of that.
    """
    origin = error.__traceback__
    return isinstance(error, GeneratorExit) and origin is not None and origin.tb_next is None


def load_together(function: AnyFunction, runs: Sequence[Run]) -> None:
    """Load the arguments of jobs of one call each, which are run one after the other, where one pass does it."""
    alone = [run for run in runs if run.function is function and len(run.calls) == 1 and run.missing()]
    texts = [run.calls[0] for run in alone]
    if sum(map(len, texts)) <= LOADED_TOGETHER:
        for run, arguments in zip(alone, _load_many(function, texts), strict=False):
            run.loaded[0] = arguments


def _load_all(function: AnyFunction, run: Run, missing: list[int]) -> dict[int, Arguments]:
    """The arguments of all calls of a run; nothing where one of them does not fit, so that it fails alone."""
    texts = [run.calls[index] for index in missing]
    return dict(zip(missing, _load_many(function, texts), strict=False))


def _load_many(function: AnyFunction, texts: Sequence[str]) -> list[Arguments]:
    if len(texts) < 2 or not function.loads_in_one_pass:  # noqa: PLR2004 - each is loaded in its own call's time
        return []
    try:
        return function.load_many(texts)
    except Exception:  # noqa: BLE001 - whatever it is, it comes again for the call at fault, and is recorded there
        return []


def _note(run: Run, index: int, result: CallRecord | Problem) -> None:
    if isinstance(result, Problem):
        run.problems[index] = result
    else:
        run.ended[index] = result


def _is_shutdown(error: BaseException) -> bool:
    """Whether it is the worker's own end."""
    if isinstance(error, KeyboardInterrupt):
        # Celery's workers take Ctrl-C in a way of their own, and the processes of their pools not at all.
        in_main_thread = threading.current_thread() is threading.main_thread()
        return in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if type(error) is not SystemExit:
        return isinstance(error, SystemExit)
    # What a process of the prefork pool does at SIGTERM, in the midst of a function: its signal handler raises it.
    return any(
        frame.f_code.co_name == "_shutdown_cleanup" and frame.f_globals.get("__name__") == "billiard.common"
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def problem_of(
    function: AnyFunction, text: str, arguments: Arguments | None, error: BaseException, *, from_function: bool
) -> Problem:
    """What a call that raised has come to, without its secrets."""
    args, kwargs = arguments or ((), {})
    record = CallRecord(state=JobState.FAILED, error=describe(error, _secrets(function, text, args, kwargs)))
    return Problem(error=error, record=record, from_function=from_function)


def problem_of_abandoned(reason: type[BaseException]) -> Problem:
    """What a call has come to that did not stop when told to."""
    error = reason(INTERRUPTION_TEXT[reason] + ", and the function did not stop when told to")  # type: ignore[index]
    record = CallRecord(state=JobState.FAILED, error=describe(error))
    return Problem(error=error, record=record, from_function=True)


def _secrets(function: AnyFunction, text: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> list[str]:
    """What sensitive arguments may appear as: as they came over the wire, and as the function had them."""
    sensitive = function.options.sensitive
    if not sensitive:
        return []
    try:
        wire = json.loads(text)
    except ValueError:
        wire = None
    found = secrets_of(wire, sensitive) if isinstance(wire, dict) else []
    named = inspect.signature(function.callable).bind(*args, **kwargs).arguments if args else kwargs
    return sorted({*found, *secrets_of(named, sensitive)}, key=len, reverse=True)

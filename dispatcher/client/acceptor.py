"""Brings jobs into the ledger: what is dispatched in one turn of the event loop shares a round trip."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from dispatcher.clock import Clock
from dispatcher.errors import Acceptance, ServerError, ServerUnreachableError, ServerUnusableError, SettingsError
from dispatcher.model.job import Job
from dispatcher.transport.admission import Admission, group
from dispatcher.transport.failure import SERVER_FAILURES, refused, translate
from dispatcher.transport.replies import Accepted

logger = logging.getLogger(__name__)

#: Jobs in one round trip.
BATCH = 100
#: Round trips under way at once.
AT_ONCE = 2
#: Seconds between two tries to reach the server.
PAUSE = 0.1


class Receiver(Protocol):
    """Who waits for the answer about a job; a future is one."""

    def done(self) -> bool:
        """Whether it has an answer, or wants none."""
        ...

    def set_result(self, result: Accepted, /) -> object: ...

    def set_exception(self, exception: Exception, /) -> object: ...


_Waiting = tuple[Job, Receiver]


class _Answer:
    """What one caller is told that waits for it itself."""

    __slots__ = ("_answer",)

    def __init__(self) -> None:
        self._answer: Accepted | Exception | None = None

    def done(self) -> bool:
        return self._answer is not None

    def set_result(self, result: Accepted) -> None:
        self._answer = result

    def set_exception(self, exception: Exception) -> None:
        self._answer = exception

    def result(self) -> Accepted:
        if not isinstance(self._answer, Accepted):
            raise self._answer or asyncio.InvalidStateError
        return self._answer


class Acceptor:
    """Accepts jobs for one producer, in its event loop.

    Args:
        admission: what accepts them.
        clock: for how long it is tried.
        address: of the server, for errors.
        timeout: seconds that the server may be away.
        alone: whether a caller may ask the admission itself; not where something is done after the server's answer, as
            a caller may be cancelled before.
    """

    def __init__(self, admission: Admission, clock: Clock, address: str, timeout: float, *, alone: bool = True) -> None:
        self._admission = admission
        self._clock = clock
        self._address = address
        self._timeout = timeout
        self._waiting: list[_Waiting] = []
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._may_be_alone = alone
        #: Whether what was sent last was one job: then the next one is not kept waiting for others.
        self._was_alone = False
        #: Done when the one that was sent by its caller has its answer; None while there is none such.
        self._alone: asyncio.Future[None] | None = None
        self._closed = False

    async def accept(self, job: Job) -> Accepted:
        """Have one job accepted, with whatever else is dispatched in this turn.

        Raises:
            CallRefusedError: the ledger refused it.
            ServerError: the server cannot be reached within the time for a dispatch; `accepted` says what is known.
            SettingsError: closed before this one was sent.
        """
        if self._was_alone and not (self._waiting or self._tasks or self._alone or self._closed):
            return await self._accept_alone(job)
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self.submit(job, future)
        return await future

    async def _accept_alone(self, job: Job) -> Accepted:
        """As `accept`, at once and in the caller's own task.

        Another task, and two turns of the loop, take as long as sending it does (`benchmarks.calls --only single`).
        """
        alone = self._alone = asyncio.get_running_loop().create_future()
        answer = _Answer()
        try:
            await self._send([(job, answer)])
        finally:
            self._alone = None
            if not alone.done():  # whoever closes may have been cancelled
                alone.set_result(None)
        return answer.result()

    def submit(self, job: Job, receiver: Receiver) -> None:
        """Have one job accepted, without waiting: the receiver is told what `accept` returns or raises.

        Raises:
            SettingsError: closed.
        """
        if self._closed:
            msg = "this Dispatcher was closed before the call was sent"
            raise SettingsError(msg)
        if not self._waiting:
            # Its first step comes when the loop has run what is ready now, and that may bring more.
            self._start(self._flush())
        self._waiting.append((job, receiver))

    async def close(self) -> None:
        """Take nothing more, and wait for the answers that are on their way."""
        self._closed = True
        while self._waiting or self._tasks or self._alone:
            alone = [] if self._alone is None else [self._alone]
            await asyncio.gather(*self._tasks, *alone, return_exceptions=True)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush(self) -> None:
        waiting, self._waiting = group(self._waiting, lambda one: one[0]), []
        self._was_alone = self._may_be_alone and len(waiting) == 1
        for start in range(BATCH, len(waiting), BATCH):
            self._start(self._send(waiting[start : start + BATCH]))
        await self._send(waiting[:BATCH])

    async def _send(self, batch: Sequence[_Waiting]) -> None:
        try:
            await self._exchange(batch)
        finally:
            # Whatever went wrong, nobody waits for ever.
            for _, receiver in batch:
                if not receiver.done():
                    problem = ServerUnreachableError(self._address, "it was broken off", accepted=Acceptance.UNKNOWN)
                    receiver.set_exception(problem)

    async def _exchange(self, batch: Sequence[_Waiting]) -> None:
        known = Acceptance.NO
        give_up = self._clock.monotonic() + self._timeout
        async with self._at_once:
            while True:
                # Not sent, or not sent again: what nobody waits for any more.
                batch = [waiting for waiting in batch if not waiting[1].done()]
                try:
                    results = await self._admission.accept([job for job, _ in batch])
                except SERVER_FAILURES as error:
                    if not refused(error):
                        known = Acceptance.UNKNOWN
                    problem = self._explain(error, known)
                    if not isinstance(problem, ServerUnreachableError) or self._clock.monotonic() >= give_up:
                        for _, receiver in batch:
                            _fail(receiver, problem)
                        return
                else:
                    break
                await asyncio.sleep(PAUSE)
        for (_, receiver), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                _fail(receiver, self._explain(result, known))
            elif not receiver.done():
                receiver.set_result(result)

    def _explain(self, error: Exception, known: Acceptance) -> Exception:
        problem = translate(error, self._address, accepted=known)
        if problem is None and isinstance(error, SERVER_FAILURES):
            said = f"the server answered what Dispatcher does not understand: {error}"
            return ServerUnusableError(self._address, said, accepted=known)
        return problem or error


def _fail(receiver: Receiver, error: Exception) -> None:
    if receiver.done():
        return
    if isinstance(error, ServerError):
        # Each caller gets an error of its own: a traceback must not be shared between tasks.
        error = type(error)(error.address, error.problem, accepted=error.accepted)
    receiver.set_exception(error)

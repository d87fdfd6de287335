"""Rows of a `map` over a function that keeps its results: looked up together, and only what is not found is queued."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from dispatcher.client.handle import entries_of
from dispatcher.client.job_size import JobSize
from dispatcher.client.parts import JobRun, read_entry
from dispatcher.model.call import Call
from dispatcher.model.outcome import Outcome
from dispatcher.registry.function import Function

if TYPE_CHECKING:
    from dispatcher.client.cached_calls import CachedCalls

R = TypeVar("R")

#: Rows looked up in one round trip, at least: far more than a job of slow calls holds.
LOOKED_UP: Final = 200
#: Jobs of the rows looked up together that are under way at once.
JOBS_AT_ONCE: Final = 32


class CachedRows(Generic[R]):
    """For one run of `map`.

    Args:
        function: of every call.
        cached: where they are looked for.
        size: of the jobs.
        run: has one job run.
    """

    def __init__(
        self,
        function: Function[..., R],
        cached: "CachedCalls",
        size: JobSize,
        run: Callable[[list[Call[R]], str | None], Awaitable[JobRun]],
    ) -> None:
        self._function = function
        self._cached = cached
        self._size = size
        self._run = run

    async def outcomes(self, calls: list[Call[R]]) -> list[Outcome[R]]:
        """The outcome of each call. Equal ones run once."""
        found = await self._cached.find(self._function, calls)
        ended: dict[int, Outcome[R]] = {}
        left: dict[tuple[str, str], list[int]] = {}
        for place, (call, entry) in enumerate(zip(calls, found, strict=True)):
            if entry is not None:
                ended[place] = read_entry(self._function, entry, 0)
            else:
                left.setdefault((call.version, call.arguments), []).append(place)
        if left:
            await self._run_all(calls, list(left.values()), ended)
        return [ended[place] for place in range(len(calls))]

    async def _run_all(self, calls: list[Call[R]], groups: list[list[int]], ended: dict[int, Outcome[R]]) -> None:
        """Run one call of each group, and give its outcome to all of the group."""
        running: set[asyncio.Future[Any]] = set()
        begun = 0
        try:
            while begun < len(groups) or running:
                while begun < len(groups) and len(running) < JOBS_AT_ONCE:
                    job = groups[begun : begun + self._size.calls]
                    running.add(asyncio.ensure_future(self._run_one(calls, job, ended)))
                    begun += len(job)
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
        finally:
            for one in running:
                one.cancel()
            # Until their jobs are cancelled, as `map` promises.
            await asyncio.gather(*running, return_exceptions=True)

    async def _run_one(self, calls: list[Call[R]], job: list[list[int]], ended: dict[int, Outcome[R]]) -> None:
        run = await self._run([calls[group[0]] for group in job], None)
        for group, entry in zip(job, entries_of(run.record, len(job)), strict=True):
            for place in group:
                ended[place] = read_entry(self._function, entry, run.record.attempts)

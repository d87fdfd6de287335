"""Our producer, with the same work to do as those of the peers: `peers.produce` runs it."""

from collections.abc import Iterable, Sequence

from pydantic import SecretStr

from benchmarks.calls.app import Answer, quick, registry, waiting
from benchmarks.calls.peers.producing import QUICK, WAITING, Row, url
from dispatcher import Dispatcher, Function, Outcome, Settings, Succeeded

FUNCTIONS: dict[str, Function[[int, str], Answer]] = {QUICK: quick, WAITING: waiting}


class Ours:
    """Sends through a `Dispatcher`."""

    def __init__(self) -> None:
        self.dispatcher = Dispatcher(registry, settings=Settings.load(url=SecretStr(url())))

    async def open(self) -> None:
        await self.dispatcher.start()

    async def close(self) -> None:
        await self.dispatcher.close()

    async def together(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        given = ({"number": number, "text": text} for number, text in calls)
        return [_value(outcome) async for outcome in self.dispatcher.map(FUNCTIONS[function], given)]

    async def each(self, function: str, calls: Sequence[Row]) -> Iterable[object]:
        called = FUNCTIONS[function]
        outcomes = await self.dispatcher.gather(*(called.call(number=number, text=text) for number, text in calls))
        return map(_value, outcomes)

    async def one(self, function: str, call: Row) -> object:
        number, text = call
        handle = await self.dispatcher.dispatch(FUNCTIONS[function].call(number=number, text=text))
        return await handle.result()


def _value(outcome: Outcome[Answer]) -> Answer:
    if not isinstance(outcome, Succeeded):
        message = f"a call did not succeed: {outcome}"
        raise TypeError(message)
    return outcome.value


def make_producer() -> Ours:
    """For `produce`."""
    return Ours()

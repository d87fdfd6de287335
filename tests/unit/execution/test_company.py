"""Jobs that share a wake-up: taken as they are quick, recorded together, given back where one takes long."""

import threading
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator
from redis.exceptions import ConnectionError as ServerGoneError

from dispatcher import RetryPolicy
from dispatcher.execution.company import TAKEN_SECONDS
from dispatcher.execution.coroutines import CoroutineRunner
from dispatcher.execution.execute import Executor
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings
from dispatcher.transport.replies import Lease, NoLease, WakeUp
from dispatcher.transport.script import Command
from tests.unit.execution.fakes import FakeLedger, lease_of

registry = Registry()
called: list[int] = []
going_on = threading.Event()


@registry.function(retry=RetryPolicy(max_attempts=3))
def note(number: int) -> int:
    """Note a number."""
    called.append(number)
    if number == 13:
        msg = "unlucky"
        raise ValueError(msg)
    if number == 99:
        assert going_on.wait(10)
    return number


@registry.function(delivery="at_most_once")
def note_once(number: int) -> int:
    """Note a number."""
    called.append(number)
    return number


def look_at(number: int) -> int:
    """Code of a type's own."""
    called.append(-number)
    return number


@registry.function
def note_looked_at(number: Annotated[int, AfterValidator(look_at)]) -> int:
    """Note a number."""
    called.append(number)
    return number


class Ledger(FakeLedger):
    """Gives jobs that are named after the number they note, one or many."""

    def __init__(self, function: str = "note", **answers: Any) -> None:
        answers = {"lease": self.give, "give_back": lambda command: ["default"] * (len(command.args) // 2), **answers}
        super().__init__(**answers)
        self.function = function

    def give(self, command: Command[Any]) -> Any:
        leases = [lease_of(self.function, {"number": int(str(name))}, job_id=str(name)) for name in command.args[3:]]
        return leases[0] if len(leases) == 1 else leases

    @property
    def given(self) -> list[list[str]]:
        """The jobs of each request for leases."""
        return [[str(name) for name in command.args[3:]] for command in self.asked_for("lease")]


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    called.clear()
    going_on.clear()


class Bench:
    def __init__(
        self,
        ledger: Ledger,
        *,
        can_publish: bool = True,
        outage_seconds: float = 5.0,
        coroutines: CoroutineRunner | None = None,
    ) -> None:
        self.ledger = ledger
        self.published: list[WakeUp] = []
        self.broker_is_away = False
        publish = self.publish if can_publish else None
        settings = Settings(outage_seconds=outage_seconds, kill_grace_seconds=0.2)
        self.executor = Executor(registry, ledger, settings, publish=publish, coroutines=coroutines)  # type: ignore[arg-type]

    def publish(self, wake_up: WakeUp) -> None:
        if self.broker_is_away:
            msg = "gone"
            raise ServerGoneError(msg)
        self.published.append(wake_up)

    def run(self, *numbers: int, function: Any = note) -> Any:
        return self.executor.execute_many(function, [str(number) for number in numbers], "default", "worker")

    def warm(self, function: Any = note) -> None:
        """Let it know how quick the function is."""
        self.executor._company._expected[function.name] = 1e-5


def ids(wake_up: WakeUp) -> list[str]:
    return [wake_up.job_id, *wake_up.others]


def test_of_a_function_that_is_not_known_one_is_taken_and_the_others_are_put_back_first() -> None:
    bench = Bench(Ledger())
    assert bench.run(1, 2, 3).what == "succeeded"
    assert called == [1]
    assert bench.ledger.given == [["1"]]
    (put_back,) = bench.published
    assert (ids(put_back), put_back.head, put_back.queue) == (["2", "3"], True, "default")


def test_once_it_is_known_to_be_quick_all_are_taken_leased_and_settled_together() -> None:
    bench = Bench(Ledger())
    bench.warm()
    ending = bench.run(*range(20, 40))
    assert called == [*range(20, 40)]
    assert bench.ledger.given == [[str(number) for number in range(20, 40)]]
    assert ending.text == "20 of 20 jobs succeeded"
    assert [words[0] for words in bench.ledger.settled()] == [str(n) for n in range(20, 40)]


def test_of_slow_ones_as_many_are_taken_as_are_done_in_a_moment() -> None:
    bench = Bench(Ledger())
    bench.executor._company._expected["note"] = TAKEN_SECONDS / 3.5
    bench.run(*range(20, 30))
    assert called == [20, 21, 22]
    assert ids(bench.published[0]) == [str(number) for number in range(23, 30)]


def test_what_must_never_run_twice_is_taken_alone() -> None:
    bench = Bench(Ledger("note_once"))
    bench.warm(note_once)
    bench.run(1, 2, function=note_once)
    assert called == [1]
    assert ids(bench.published[0]) == ["2"]


@pytest.mark.parametrize("can_publish", [True, False])
def test_where_nothing_can_be_put_back_everything_is_run_here(can_publish: bool) -> None:
    bench = Bench(Ledger(), can_publish=can_publish)
    bench.broker_is_away = True
    bench.run(1, 2, 3)
    assert called == [1, 2, 3]


def test_a_failure_of_one_is_its_own() -> None:
    bench = Bench(Ledger())
    bench.warm()
    ending = bench.run(12, 13, 14)
    assert called == [12, 13, 14]
    assert ending.text == "2 of 3 jobs succeeded"
    assert len(list(bench.ledger.retries())) == 1
    assert len(list(bench.ledger.settlements())) == 2


def test_arguments_that_do_not_fit_are_the_fault_of_one() -> None:
    def give(command: Command[Any]) -> Any:
        arguments = {"1": {"number": 1}, "2": {"number": "two"}, "3": {"number": 3}}
        return [lease_of("note", arguments[str(name)], job_id=str(name)) for name in command.args[3:]]

    bench = Bench(Ledger(lease=give))
    bench.warm()
    assert bench.run(1, 2, 3).text == "2 of 3 jobs succeeded"
    assert called == [1, 3]


def test_arguments_are_loaded_together_unless_a_type_has_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[object] = []
    load = type(note).load_arguments
    monkeypatch.setattr(type(note), "load_arguments", lambda self, text: alone.append(text) or load(self, text))
    bench = Bench(Ledger())
    bench.warm()
    bench.run(1, 2, 3)
    assert alone == []
    bench = Bench(Ledger("note_looked_at"))
    bench.warm(note_looked_at)
    bench.run(4, 5, function=note_looked_at)
    assert called == [1, 2, 3, -4, 4, -5, 5], "that code runs in its own call's time"


def test_leases_are_kept_until_the_outcomes_are_recorded() -> None:
    watched: list[set[str]] = []

    def settle(command: Command[Any]) -> Any:
        watched.append(set(bench.executor._supervisor._attempts))
        return ["settled"] * (len(command.keys) - 1)

    bench = Bench(Ledger(settle=settle))
    bench.warm()
    bench.run(1, 2, 3)
    assert watched == [{"1", "2", "3"}]
    assert bench.executor._supervisor._attempts == {}


def test_nobody_keeps_leases_of_jobs_that_could_not_be_recorded() -> None:
    bench = Bench(Ledger(settle=AssertionError("a fault of ours")))
    bench.warm()
    with pytest.raises(AssertionError):
        bench.run(1, 2, 3)
    assert bench.executor._supervisor._attempts == {}
    assert bench.executor._runs == {}


def test_what_is_not_given_is_not_run_and_what_is_to_be_looked_at_is_asked_for_alone() -> None:
    def give(command: Command[Any]) -> Any:
        names = command.args[3:]
        if len(names) == 1:
            return lease_of("note", {"number": int(str(names[0]))}, job_id=str(names[0]))
        reasons = {"2": NoLease("settled:succeeded"), "3": NoLease("look"), "4": NoLease("error:WRONGTYPE")}
        return [reasons.get(str(name)) or lease_of("note", {"number": 5}, job_id="5") for name in names]

    bench = Bench(Ledger(lease=give))
    bench.warm()
    assert bench.run(2, 3, 4, 5).text == "3 of 3 jobs succeeded"
    assert called == [5, 3, 4], "those that were given wait for no other"


def test_where_one_takes_long_the_ended_are_recorded_and_those_not_begun_given_back() -> None:
    bench = Bench(Ledger())
    bench.warm()
    thread = threading.Thread(target=bench.run, args=(1, 99, 3, 4))
    thread.start()
    while called != [1, 99]:
        thread.join(0.01)
    bench.executor._company.relieve(patience=60)
    assert bench.ledger.asked_for("settle") == [], "not yet"
    bench.executor._company.relieve(patience=0)
    assert [words[0] for words in bench.ledger.settled()] == ["1"]
    assert [command.args for command in bench.ledger.asked_for("give_back")] == [("3", 1, "4", 1)]
    assert [ids(wake_up) for wake_up in bench.published] == [["3", "4"]]
    going_on.set()
    thread.join(10)
    assert called == [1, 99]
    assert [words[0] for words in bench.ledger.settled()] == ["1", "99"]
    assert bench.executor._runs == {}


def test_what_was_no_longer_ours_is_not_published() -> None:
    bench = Bench(Ledger(give_back=lambda _: ["", "default"]))
    bench.warm()
    runs = bench.executor.begin([lease_of("note", {"number": n}, job_id=str(n)) for n in (3, 4)])
    bench.executor._company._give_back(runs)
    assert [ids(wake_up) for wake_up in bench.published] == [["4"]]
    assert bench.executor._runs == {}


def test_one_whose_record_is_broken_is_recorded_by_itself() -> None:
    def settle(command: Command[Any]) -> Any:
        return "settled" if len(command.keys) == 2 else ["settled", "error:WRONGTYPE", "settled"]

    bench = Bench(Ledger(settle=settle))
    bench.warm()
    assert bench.run(1, 2, 3).what == "succeeded"
    assert [words[0] for words in bench.ledger.settled()] == ["1", "2", "3", "2"]


def test_an_outage_at_the_end_is_borne() -> None:
    bench = Bench(Ledger(settle=[ServerGoneError("gone"), ServerGoneError("gone"), "settled"]))
    bench.warm()
    assert bench.run(1, 2, 3).what == "succeeded"
    assert [words[0] for words in bench.ledger.settled()] == ["1", "2", "3"] * 3


def test_nothing_is_run_where_the_ledger_cannot_be_reached() -> None:
    bench = Bench(Ledger(lease=ServerGoneError("gone")), outage_seconds=0.1)
    bench.warm()
    assert bench.run(1, 2).what == "dropped"
    assert called == []


class AtOnce(CoroutineRunner):
    """As in the asyncio pool, one after the other."""

    runs_at_once = True


@registry.function
async def wait_for(number: int) -> int:
    """Note a number."""
    called.append(number)
    return number


def test_coroutines_that_run_at_once_are_leased_together_and_each_is_settled_when_it_ends() -> None:
    bench = Bench(Ledger("wait_for"), coroutines=AtOnce())
    assert bench.run(1, 2, 3, function=wait_for).text == "3 of 3 jobs succeeded"
    assert called == [1, 2, 3]
    assert bench.ledger.given == [["1", "2", "3"]]
    assert [len(command.keys) for command in bench.ledger.asked_for("settle")] == [2, 2, 2]
    assert bench.executor._runs == {}


def test_of_those_one_that_must_be_asked_for_by_itself_is() -> None:
    def give(command: Command[Any]) -> Any:
        names = [str(name) for name in command.args[3:]]
        leases = [lease_of("wait_for", {"number": int(name)}, job_id=name) for name in names]
        return leases[0] if len(names) == 1 else [NoLease("alone"), *leases[1:]]

    bench = Bench(Ledger(lease=give), coroutines=AtOnce())
    assert bench.run(1, 2, 3, function=wait_for).text == "3 of 3 jobs succeeded"
    assert called == [2, 3, 1]


def test_of_those_none_is_kept_that_was_not_begun_when_the_worker_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(Ledger("wait_for"), coroutines=AtOnce())

    def end(_calls: object) -> None:
        assert set(bench.executor._supervisor._attempts) == {"1", "2"}
        raise SystemExit

    monkeypatch.setattr(AtOnce, "at_once", lambda _, calls: end(calls))
    with pytest.raises(SystemExit):
        bench.run(1, 2, function=wait_for)
    assert bench.executor._supervisor._attempts == {}
    assert bench.executor._runs == {}


def test_a_slow_one_counts_at_once_and_quick_ones_little_by_little() -> None:
    company = Bench(Ledger()).executor._company
    company._learn(note, 0.01)
    company._learn(note, 0.001)
    assert 0.001 < company._expected["note"] < 0.01
    company._learn(note, 5.0)
    assert company._expected["note"] == 5.0
    assert isinstance(lease_of("note"), Lease)

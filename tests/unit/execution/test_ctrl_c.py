"""A function that raises what is the end of others: its failure, unless it was Ctrl-C."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatcher.model.outcome import ErrorKind
from tests.unit.execution.bench import Bench, Benches, Patch, does, raises
from tests.unit.execution.fakes import lease_of


@pytest.fixture
def ignored() -> Iterator[None]:
    """As in a process of the prefork pool."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def assert_failed(made: Bench) -> None:
    assert [(call.error.kind, call.error.type) for call in made.record.calls if call.error is not None] == [
        (ErrorKind.FUNCTION, "KeyboardInterrupt")
    ] * len(made.record.calls)


@pytest.mark.usefixtures("ignored")
@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("function", ["do", "do_async"])
def test_where_ctrl_c_raises_nothing_it_is_the_functions_failure(
    bench: Benches, monkeypatch: Patch, function: str, calls: int
) -> None:
    does(monkeypatch, raises(KeyboardInterrupt("mine")))
    made = bench(lease_of(function, *[{}] * calls))
    assert made.run().what == "failed"
    assert_failed(made)


def test_in_another_thread_than_the_main_one_it_is_the_functions_failure(bench: Benches, monkeypatch: Patch) -> None:
    does(monkeypatch, raises(KeyboardInterrupt("mine")))
    made = bench(lease_of("do"))
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(made.run).result().what == "failed"
    assert_failed(made)


def test_what_a_def_raises_as_a_generator_that_is_closed_is_its_failure(bench: Benches, monkeypatch: Patch) -> None:
    does(monkeypatch, raises(GeneratorExit("mine")))
    assert bench(lease_of("do")).run().what == "failed"


def test_ctrl_c_ends_the_worker_and_settles_nothing(bench: Benches, monkeypatch: Patch) -> None:
    does(monkeypatch, lambda _: signal.raise_signal(signal.SIGINT))
    made = bench(lease_of("do"))
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert list(made.ledger.settlements()) == []

"""A prefork pool's processes are written to in the loop's next turn, whatever the pool is asked meanwhile."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency import prefork, solo
from kombu.asynchronous import Hub

from dispatcher.execution.lean_hub import LeanHub
from dispatcher.execution.prompt_writes import PromptWrites, write_promptly
from dispatcher.execution.worker import make_worker_app
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings


class Pool:
    """Notes what it is asked, and which of its pipes it was told to write to."""

    def __init__(self) -> None:
        self._pool = SimpleNamespace(_all_inqueues={7})
        self.asked: list[str] = []
        self.written: list[tuple[list[int], list[str]]] = []

    def on_apply(self, what: str) -> str:
        self.asked.append(what)
        return f"result of {what}"

    def schedule_writes(self, pipes: list[int]) -> None:
        self.written.append((pipes, self.asked.copy()))


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    made.call_later(0, lambda: None)  # so that no turn waits
    yield made
    made.close()


def test_what_is_asked_in_a_turn_is_written_together_in_the_next(hub: Hub) -> None:
    pool = Pool()
    hub.consolidate_callback = pool.schedule_writes
    write_promptly(pool, hub)
    assert pool.on_apply("a") == "result of a"
    pool.on_apply("b")
    assert pool.written == []
    hub.run_once()
    assert pool.written == [([7], ["a", "b"])]
    pool.on_apply("c")
    hub.run_once()
    assert pool.written[1:] == [([7], ["a", "b", "c"])]


def test_a_pool_that_is_not_registered_yet_is_left_alone(hub: Hub) -> None:
    pool = Pool()
    write_promptly(pool, hub)
    pool.on_apply("a")
    hub.run_once()
    assert pool.written == []


@pytest.mark.parametrize(("kind", "prompt"), [(prefork.TaskPool, True), (solo.TaskPool, False)])
def test_only_processes_are_written_to(hub: Hub, kind: type, prompt: bool) -> None:
    pool: Any = kind(app=None)
    own = pool.on_apply
    PromptWrites(SimpleNamespace()).start(SimpleNamespace(hub=hub, pool=pool))
    assert (pool.on_apply != own) is prompt


def test_a_worker_has_the_steps_before_anything_registers_with_its_loop() -> None:
    steps = make_worker_app(Registry(), Settings(), "redis://localhost:1", name="unit").steps["worker"]
    assert {LeanHub, PromptWrites} <= set(steps)
    # Where they stand in the order in which Celery makes and starts them.
    assert LeanHub.requires == ("celery.worker.components:Hub",)
    assert PromptWrites.requires == ("celery.worker.components:Pool",)

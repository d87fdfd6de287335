"""People before batches, and batches never quite last."""

from collections import Counter

from kombu.utils.scheduling import cycle_by_name, round_robin_cycle

from dispatcher.settings import Settings
from dispatcher.transport.app import create_app
from dispatcher.transport.lanes import PATIENCE, Lanes

QUEUES = ["default.high", "default", "default.bulk", "slow.high", "slow", "slow.bulk", "celery"]


def take(lanes: Lanes, full: set[str], count: int) -> list[str]:
    """Where so many messages come from while these queues never run dry."""
    taken = []
    for _ in range(count):
        first = next(queue for queue in lanes.consume(len(QUEUES)) if queue in full)
        taken.append(lanes.rotate(first))
    return taken


def test_what_cannot_wait_comes_first_and_batches_last() -> None:
    assert Lanes(QUEUES).consume(7) == [
        "default.high", "slow.high", "default", "slow", "celery", "default.bulk", "slow.bulk"
    ]  # fmt: skip


def test_queues_of_a_lane_take_turns() -> None:
    assert take(Lanes(QUEUES), {"default", "slow", "celery"}, 6) == ["default", "slow", "celery"] * 2


def test_a_batch_has_its_turn_however_many_people_ask() -> None:
    taken = Counter(take(Lanes(QUEUES), {"default", "default.bulk"}, 110))
    assert taken["default.bulk"] == 10
    assert taken["default"] == 100


def test_no_lane_starves_where_all_are_full() -> None:
    taken = Counter(take(Lanes(QUEUES), set(QUEUES), 1_000))
    assert min(taken.values()) > 1_000 / (PATIENCE + 1) / (PATIENCE + 1)
    assert taken["default.high"] + taken["slow.high"] > taken["default.bulk"] + taken["slow.bulk"]


def test_a_lane_that_was_asked_first_and_had_nothing_waits_again() -> None:
    lanes = Lanes(QUEUES)
    take(lanes, {"default"}, PATIENCE)
    assert lanes.consume(7)[0] == "default.bulk"
    lanes.rotate("default")
    assert lanes.consume(7)[0] == "default.high"


def test_batches_alone_run_one_after_the_other() -> None:
    assert take(Lanes(QUEUES), {"default.bulk", "slow.bulk"}, 4) == ["default.bulk", "slow.bulk"] * 2


def test_queues_come_and_go() -> None:
    lanes = Lanes()
    assert lanes.consume(0) == []
    lanes.update(["a.bulk", "a"])
    assert lanes.consume(2) == ["a", "a.bulk"]
    assert lanes.consume(1) == ["a"]
    lanes.update(["b"])
    assert lanes.consume(2) == ["b"]
    assert lanes.rotate("gone") == "gone"


def test_it_is_a_cycle_as_kombu_knows_them_and_every_app_has_it() -> None:
    strategy = create_app(Settings(), "redis://localhost:1").conf.broker_transport_options["queue_order_strategy"]
    made = cycle_by_name(strategy)()
    assert isinstance(made, Lanes)
    assert {name for name in dir(round_robin_cycle) if not name.startswith("_")} <= set(dir(made))

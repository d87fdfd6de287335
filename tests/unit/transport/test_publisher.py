"""Publishing in batches on a thread of its own: nothing blocks or fails a producer, nothing is forgotten."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from dispatcher.transport import publisher as module
from dispatcher.transport.broker import BATCH
from dispatcher.transport.message import WAKE_UP_HEADER, headers
from dispatcher.transport.publisher import Publisher
from dispatcher.transport.replies import WakeUp


def wake_up(number: int) -> WakeUp:
    return WakeUp(job_id=f"job-{number}", function="add", queue="default", shown='{"a": "***"}')


class FakeBroker:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.tries = 0
        self.errors: list[BaseException] = []
        self.disconnected = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.left = threading.Event()
        self.threads: set[threading.Thread] = set()

    def publish(self, wake_ups: list[WakeUp]) -> None:
        self.entered.set()
        assert self.gate.wait(10)
        self.tries += 1
        self.threads.add(threading.current_thread())
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append([one.job_id for one in wake_ups])

    def disconnect(self) -> None:
        self.disconnected += 1
        self.left.set()

    @property
    def published(self) -> list[str]:
        return [job_id for batch in self.batches for job_id in batch]


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def publisher(broker: FakeBroker) -> Iterator[Publisher]:
    made = Publisher(broker)  # type: ignore[arg-type]
    yield made
    broker.gate.set()
    made.close()


def ids(*numbers: int) -> list[str]:
    return [f"job-{number}" for number in numbers]


def test_what_is_put_is_published_in_order(broker: FakeBroker, publisher: Publisher) -> None:
    for number in range(500):
        publisher.put(wake_up(number))
    assert publisher.flush(10)
    assert broker.published == ids(*range(500))


def test_what_comes_while_a_batch_is_on_its_way_goes_with_the_next(broker: FakeBroker, publisher: Publisher) -> None:
    broker.gate.clear()
    publisher.put(wake_up(0))
    assert broker.entered.wait(10)
    for number in range(1, BATCH + 11):
        publisher.put(wake_up(number))
    broker.gate.set()
    assert publisher.flush(10)
    assert [len(batch) for batch in broker.batches] == [1, BATCH, 10]


def test_a_broker_that_hangs_does_not_fill_the_memory(
    broker: FakeBroker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    broker.gate.clear()
    publisher.put(wake_up(0))
    assert broker.entered.wait(10)
    for number in range(1, 1000):
        publisher.put(wake_up(number))
    broker.gate.set()
    assert publisher.flush(10)
    assert broker.published == ids(*range(11))  # the others are left to the sweeper
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["publisher_full"]

    publisher.put(wake_up(1000))
    assert publisher.flush(10)
    assert broker.published == ids(*range(11), 1000)


def test_a_producer_is_not_blocked_by_a_broker_that_hangs(broker: FakeBroker, publisher: Publisher) -> None:
    broker.gate.clear()
    for number in range(1000):
        publisher.put(wake_up(number))
    assert not publisher.flush(0.01)
    assert broker.batches == []


def test_flushing_before_anything_was_put_is_done_at_once(publisher: Publisher) -> None:
    assert publisher.flush(0)


@pytest.mark.parametrize("error", [OperationalError("away"), RedisConnectionError("away"), OSError("away")])
def test_a_broken_connection_is_made_anew_and_the_batch_tried_again(
    broker: FakeBroker, publisher: Publisher, error: Exception
) -> None:
    broker.errors = [error]
    publisher.put(wake_up(1))
    assert publisher.flush(10)
    assert broker.published == ids(1)
    assert broker.disconnected == 1


def test_what_cannot_be_published_is_logged_and_left_to_the_sweeper(
    broker: FakeBroker, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    broker.errors = [OSError("away"), OSError("still away")]
    publisher.put(wake_up(1))
    assert publisher.flush(10)
    (record,) = caplog.records
    assert record.message == "publish_failed: still away"
    assert (record.wake_ups, record.first_job_id) == (1, "job-1")  # type: ignore[attr-defined]
    publisher.put(wake_up(2))
    assert publisher.flush(10)
    assert broker.published == ids(2)


def test_closing_publishes_what_is_left_and_ends_the_thread(broker: FakeBroker, publisher: Publisher) -> None:
    for number in range(250):
        publisher.put(wake_up(number))
    publisher.close()
    assert broker.published == ids(*range(250))
    assert not any(thread.is_alive() for thread in broker.threads)
    assert broker.disconnected == 1
    publisher.close()


def test_closing_waits_no_longer_than_it_is_told(broker: FakeBroker, publisher: Publisher) -> None:
    broker.gate.clear()
    publisher.put(wake_up(1))
    assert broker.entered.wait(10)
    began = time.monotonic()
    publisher.close(timeout=0.01)
    assert time.monotonic() - began < 2
    assert broker.disconnected == 0, "what is on its way goes on"
    broker.gate.set()
    assert broker.left.wait(10)
    assert broker.published == ids(1)


def test_what_is_put_after_closing_is_published_by_a_new_thread(broker: FakeBroker, publisher: Publisher) -> None:
    publisher.put(wake_up(1))
    publisher.close()
    publisher.put(wake_up(2))
    assert publisher.flush(10)
    assert broker.published == ids(1, 2)
    assert len(broker.threads) == 2


def test_the_new_thread_waits_for_the_old_so_that_one_at_a_time_has_the_connection(
    broker: FakeBroker, publisher: Publisher
) -> None:
    broker.gate.clear()
    publisher.put(wake_up(1))
    assert broker.entered.wait(10)
    publisher.close(timeout=0.01)
    publisher.put(wake_up(2))
    broker.gate.set()
    assert publisher.flush(10)
    assert broker.published == ids(1, 2)


def test_nothing_put_while_it_closes_is_forgotten(broker: FakeBroker) -> None:
    for _ in range(30):
        publisher = Publisher(broker)  # type: ignore[arg-type]
        broker.batches = []
        start = threading.Barrier(2)

        def put(publisher: Publisher = publisher, start: threading.Barrier = start) -> None:
            start.wait()
            for number in range(20):
                publisher.put(wake_up(number))

        putting = threading.Thread(target=put)
        putting.start()
        start.wait()
        publisher.close()
        putting.join()
        assert publisher.flush(10)
        assert broker.published == ids(*range(20))
        publisher.close()


def test_a_thread_that_died_is_replaced_and_whoever_flushed_is_freed(
    broker: FakeBroker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    broker.gate.clear()
    broker.errors = [ZeroDivisionError()]
    publisher.put(wake_up(1))
    assert broker.entered.wait(10)
    first = publisher._thread
    assert first is not None
    broker.gate.set()
    first.join(10)
    assert broker.disconnected == 1
    publisher.put(wake_up(2))
    assert publisher.flush(10)
    assert broker.published == ids(2)
    assert publisher._thread is not first


def test_a_wake_up_names_the_job_shows_the_redacted_arguments_and_carries_nothing_else() -> None:
    made = headers(WakeUp(job_id="j", function="add", queue="q", shown='{"a": "***"}', attempts=2), "producer-1")
    assert made[WAKE_UP_HEADER] == 1
    assert (made["id"], made["task"], made["kwargsrepr"], made["retries"]) == ("j", "add", '{"a": "***"}', 2)
    assert made["ignore_result"] is True
    assert "dispatcher_head" not in made
    head = headers(WakeUp(job_id="j", function="add", queue="q", shown="{}", head=True), "producer-1")
    assert head["dispatcher_head"] is True

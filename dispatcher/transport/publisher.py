"""Publishes wake-ups through kombu, in batches, on a thread of its own.

The ledger holds the job by then: a wake-up that cannot be published is logged and left to the sweeper, so nothing here
ever blocks or fails a producer.
"""

import logging
import queue
import threading
from collections.abc import Sequence

from dispatcher.transport.broker import BATCH, Broker
from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.replies import WakeUp

logger = logging.getLogger(__name__)

#: Wake-ups that wait while the broker hangs. What comes beyond is left to the sweeper: a producer's memory must not
#: grow with an outage.
MOST_WAITING = 100_000


class Publisher:
    """A queue and a thread that empties it into the broker. Started by the first wake-up."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        #: Wake-ups, events to set when reached, and threads that are to end there.
        self._queue: queue.SimpleQueue[WakeUp | threading.Event | threading.Thread] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        #: Told to end; it may still be at work.
        self._predecessor: threading.Thread | None = None
        #: Held while something is put: so nothing comes to lie behind the word that ends a thread.
        self._lock = threading.Lock()
        #: Whether those that come now are left to the sweeper: told once, until there is room again.
        self._full = False

    def put(self, wake_up: WakeUp) -> None:
        """Hand over a wake-up. Returns at once. After `close`, a new thread begins."""
        with self._lock:
            if self._is_full(wake_up):
                return
            self._queue.put(wake_up)
            if self._thread is None or not self._thread.is_alive():
                before = self._predecessor if self._thread is None else self._thread
                self._thread = threading.Thread(
                    target=self._run, args=(before,), name="dispatcher-publisher", daemon=True
                )
                self._thread.start()

    def _is_full(self, wake_up: WakeUp) -> bool:
        was_full, self._full = self._full, self._queue.qsize() >= MOST_WAITING
        if self._full and not was_full:
            extra = {"waiting": MOST_WAITING, "first_job_id": wake_up.job_id}
            logger.warning("publisher_full: the broker takes too long; wake-ups are left to the sweeper", extra=extra)
        return self._full

    def flush(self, timeout: float) -> bool:
        """Wait until everything handed over so far has been published or given up; False after `timeout` seconds."""
        reached = threading.Event()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                return self._queue.empty()
            self._queue.put(reached)
        return reached.wait(timeout)

    def close(self, timeout: float = 5) -> None:
        """Publish what is left, then end the thread. Waits at most `timeout` seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._predecessor = thread
            self._queue.put(thread)
        thread.join(timeout)

    def _run(self, predecessor: threading.Thread | None) -> None:
        if predecessor is not None:
            predecessor.join()  # the broker's connection is for one thread
        try:
            ending = False
            while not ending:
                batch, reached, ending = self._next_batch()
                try:
                    if batch:
                        self._publish(batch)
                finally:
                    for event in reached:
                        event.set()
        finally:
            self._broker.disconnect()

    def _next_batch(self) -> tuple[list[WakeUp], list[threading.Event], bool]:
        batch: list[WakeUp] = []
        reached: list[threading.Event] = []
        item = self._queue.get()
        while True:
            if item is threading.current_thread():
                return batch, reached, True
            if isinstance(item, WakeUp):
                batch.append(item)
            elif isinstance(item, threading.Event):
                reached.append(item)
            if len(batch) >= BATCH:
                return batch, reached, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, reached, False

    def _publish(self, batch: Sequence[WakeUp]) -> None:
        for last_try in (False, True):
            try:
                self._broker.publish(batch)
            except SERVER_FAILURES as error:
                self._broker.disconnect()
                if last_try:
                    logger.warning(
                        "publish_failed: %s",
                        error,
                        extra={"wake_ups": len(batch), "reason": str(error), "first_job_id": batch[0].job_id},
                    )
            else:
                return

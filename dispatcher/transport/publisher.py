"""Publishes wake-ups through kombu, in batches, on a thread of its own.

The ledger holds the job by then: a wake-up that cannot be published is logged and left to the sweeper, so nothing here
ever blocks or fails a producer.
"""

import logging
import queue
import threading
from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import KombuError, OperationalError

from dispatcher.transport.commands import WakeUp

logger = logging.getLogger(__name__)

#: Wake-ups in one pipeline: large enough that the round trip no longer counts, small enough that the first of them
#: is not kept waiting.
BATCH = 100

#: The header that tells a wake-up from a plain Celery call of the same task.
WAKE_UP_HEADER = "dispatcher_job"

_BODY = [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def headers(wake_up: WakeUp, origin: str) -> dict[str, Any]:
    """The message headers of a wake-up.

    Source: Celery's message protocol, version 2.
    """
    return {
        "lang": "py",
        "task": wake_up.function,
        "id": wake_up.job_id,
        "root_id": wake_up.job_id,
        "parent_id": None,
        "group": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": wake_up.shown,
        "origin": origin,
        # The outcome is the ledger's to store; Celery must not write under the same key.
        "ignore_result": True,
        WAKE_UP_HEADER: 1,
        **({"dispatcher_head": True} if wake_up.head else {}),
    }


def publish(producer: Producer, wake_ups: Sequence[WakeUp], origin: str) -> None:
    """Publish wake-ups in one pipeline where the transport can.

    Raises:
        kombu.exceptions.OperationalError, KombuError, OSError: delivery is uncertain; publishing again is harmless.
    """
    with producer.batch(max_size=BATCH):
        for wake_up in wake_ups:
            producer.publish(
                _BODY,
                exchange="",
                routing_key=wake_up.queue,
                serializer="json",
                headers=headers(wake_up, origin),
                correlation_id=wake_up.job_id,
                delivery_mode=2,
            )


class Publisher:
    """A queue and a thread that empties it into the broker. Started by the first wake-up."""

    def __init__(self, app: Celery, origin: str) -> None:
        self._app = app
        self._origin = origin
        self._queue: queue.SimpleQueue[WakeUp | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def put(self, wake_up: WakeUp) -> None:
        """Hand over a wake-up. Returns at once."""
        self._queue.put(wake_up)
        if self._thread is None:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until everything handed over so far has been published or given up; False after `timeout` seconds."""
        if self._thread is None:
            return True
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout)

    def close(self, timeout: float = 5) -> None:
        """Publish what is left, then end the thread. Waits at most `timeout` seconds."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dispatcher-publisher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            batch, reached, ending = self._next_batch()
            if batch:
                self._publish(batch)
            for event in reached:
                event.set()
            if ending:
                self._disconnect()
                return

    def _next_batch(self) -> tuple[list[WakeUp], list[threading.Event], bool]:
        batch: list[WakeUp] = []
        reached: list[threading.Event] = []
        item = self._queue.get()
        while True:
            if item is None:
                return batch, reached, True
            if isinstance(item, WakeUp):
                batch.append(item)
            else:
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
                publish(self._connected(), batch, self._origin)
            except (OperationalError, KombuError, OSError, *self._connection_errors()) as error:
                self._disconnect()
                if last_try:
                    logger.warning(
                        "publish_failed",
                        extra={"wake_ups": len(batch), "reason": str(error), "first_job_id": batch[0].job_id},
                    )
            else:
                return

    def _connection_errors(self) -> tuple[type[Exception], ...]:
        connection = self._connection
        return () if connection is None else (*connection.connection_errors, *connection.channel_errors)

    def _connected(self) -> Producer:
        if self._producer is None:
            self._connection = self._app.connection_for_write()
            self._connection.connect()
            self._producer = Producer(self._connection.channel(), auto_declare=False)
        return self._producer

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()

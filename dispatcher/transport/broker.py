"""One thread's connection to the broker: publish wake-ups, look whether a queue is empty, tell Celery's events.

Publishing goes through kombu, so any broker that kombu knows will do.
"""

import logging
from collections.abc import Iterable, Sequence

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import ChannelError, KombuError

from dispatcher.transport.failure import SERVER_FAILURES
from dispatcher.transport.guarded import Channel
from dispatcher.transport.message import BODY, WAKE_UP_HEADER, headers, named_jobs
from dispatcher.transport.replies import WakeUp

logger = logging.getLogger(__name__)

#: Wake-ups in one pipeline: large enough that the round trip no longer counts, small enough that the first of them
#: is not kept waiting.
BATCH = 100

#: AMQP's answer to a question about a queue that there is not.
_NO_SUCH_QUEUE = "404"


class Broker:
    """Connects at first use, and again after `disconnect`. For one thread.

    Args:
        app: its broker, its events.
        origin: who publishes, as Flower and logs show it.
        on_reserve: whether it publishes on a server at `maxmemory` too: what was accepted long ago, and has to be
            brought to its end.
    """

    def __init__(self, app: Celery, origin: str, *, on_reserve: bool = False) -> None:
        self._app = app
        self._origin = origin
        self._on_reserve = on_reserve
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def publish(self, wake_ups: Sequence[WakeUp]) -> None:
        """Publish wake-ups, in one pipeline where the transport can.

        Raises:
            SERVER_FAILURES: delivery is uncertain; publishing again is harmless.
        """
        producer = self._connected()
        with producer.batch(max_size=BATCH):
            for wake_up in wake_ups:
                producer.publish(
                    BODY,
                    exchange="",
                    routing_key=wake_up.queue,
                    serializer="json",
                    headers=headers(wake_up, self._origin),
                    correlation_id=wake_up.job_id,
                    delivery_mode=2,
                )

    def is_empty(self, queue: str) -> bool:
        """Whether the broker holds no message of this queue.

        Raises:
            SERVER_FAILURES: it cannot be asked.
        """
        try:
            declared = self._connected().channel.queue_declare(queue=queue, passive=True)
        except ChannelError as error:
            # On Redis an empty list does not exist. Another broker closes the channel with this answer.
            self.disconnect()
            if str(error.reply_code) == _NO_SUCH_QUEUE:
                return True
            raise KombuError(str(error)) from error
        return bool(declared.message_count == 0)

    def take(self, queues: Iterable[str]) -> list[str]:
        """Take the next wake-up off the first of these queues that has one, and say which jobs it names.

        For test workers: a message that is no wake-up is lost, and so is a wake-up whose taker dies.

        Raises:
            SERVER_FAILURES: it cannot be asked.
        """
        channel = self._connected().channel
        for queue in queues:
            message = channel.basic_get(queue, no_ack=True)
            if message is not None and message.headers.get(WAKE_UP_HEADER) is not None:
                return named_jobs(message.headers["id"], message.headers)
        return []

    def tell(self, event: str, job_id: str, **fields: object) -> None:
        """Send a Celery event for a job that no worker saw end, so that Flower shows it. Failing is only logged."""
        try:
            # Under this node's name: Flower would take any other for a worker of its own.
            with self._app.events.default_dispatcher(hostname=self._origin) as events:
                events.send(event, uuid=job_id, **fields)
        except SERVER_FAILURES as error:
            logger.warning("event_not_sent", extra={"job_id": job_id, "reason": str(error)})

    def disconnect(self) -> None:
        """Let go of the connection; also of one that is broken."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except SERVER_FAILURES as error:
                logger.debug("close_failed", extra={"reason": str(error)})

    def _connected(self) -> Producer:
        if self._producer is None:
            self._connection = self._app.connection_for_write()
            self._connection.connect()
            channel = self._connection.channel()
            if isinstance(channel, Channel):
                channel.on_reserve = self._on_reserve
            self._producer = Producer(channel, auto_declare=False)
        return self._producer

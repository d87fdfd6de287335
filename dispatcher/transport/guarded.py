"""kombu's Redis transport with a guard at its door: what is malformed never reaches Celery.

How Celery is told: `use_guarded(app, settings)`, once, where the app is made. It gives the app a connection class that
puts this transport in the place of kombu's own wherever a URL leads to that one: `redis://`, `rediss://`,
`redis+socket://`, after a failover too. `broker_transport` would not do: kombu ignores it for `redis+socket://` and
after a failover, and drops TLS for `rediss://`, which it knows by the transport's name only. A broker of another kind
keeps its own transport, without a guard.

What else it does: a message with the header `dispatcher_head` goes to the head of its queue, and losing the server
costs a reconnection, never the worker.
"""

import logging
import time
from collections.abc import Callable, Container, Mapping
from functools import cached_property
from queue import Empty
from typing import Any, Final

import kombu
import redis
from celery import Celery
from celery.app.amqp import AMQP
from kombu.exceptions import OperationalError
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import RedisError, ResponseError

from dispatcher.settings import Settings
from dispatcher.transport import guard
from dispatcher.transport.broker_writes import WritingChannel
from dispatcher.transport.connection import NO_DRIVER_INFO
from dispatcher.transport.garbage import GarbageSink
from dispatcher.transport.message import BODY_TEXT, WAKE_UP_HEADER, new_body
from dispatcher.transport.poller import LeanPoller
from dispatcher.transport.wire import pack

logger = logging.getLogger(__name__)

#: Packed BRPOP commands that are kept: one for each order of the queues.
BRPOPS_KEPT: Final = 64

#: The server's or the machine's trouble, not the message's: for Celery to deal with, by connecting again.
#: kombu counts KeyError among a transport's connection errors; out of a delivery it is the message's fault.
_NOT_THE_MESSAGE: Final = (OSError, MemoryError, RedisError, OperationalError)


class _UnackedQoS(virtual.QoS):
    """What was delivered and not acknowledged, kept without a copy on the server (`ack_emulation=False`)."""

    def restore_unacked(self) -> list[object]:
        """Put it back into its queue. What cannot be put back is logged by id.

        kombu would write it, arguments and all, into a file under /tmp.
        """
        for error, message in super().restore_unacked():
            logger.warning(
                "message_not_restored: %s", error, extra={"job_id": message.headers.get("id"), "error": str(error)}
            )
        return []


class Message(virtual.Message):
    """A delivered message. The body of a wake-up, which is always the same, is not decoded."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **kwargs: Any) -> None:  # noqa: ANN401 - kombu's
        super().__init__(payload, channel=channel, **kwargs)
        if payload.get("body") == BODY_TEXT:
            self._decoded_cache = new_body()


class Channel(WritingChannel):
    """kombu's channel; looks at each message before it hands it on.

    Lists that the app consumes tasks from are checked as tasks. Other lists (replies to remote control) and pub/sub
    (remote control, events) are checked as control messages; what is malformed there is dropped with a warning.
    """

    Message = Message
    # Python's, which hands out what it made without a lock or a call: kombu asks twenty times for each message.
    client = cached_property(kombu_redis.Channel.client.func)
    subclient = cached_property(kombu_redis.Channel.subclient.func)

    guard_max_bytes = 1024 * 1024
    guard_dead_ttl_seconds = 7 * 86_400
    guard_max_dead = 10_000

    # mypy takes kombu's for a tuple of its very length.
    from_transport_options: tuple[str, ...] = (  # type: ignore[assignment]
        *kombu_redis.Channel.from_transport_options,
        "guard_namespace",
        "guard_max_bytes",
        "guard_dead_ttl_seconds",
        "guard_max_dead",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - kombu's signature
        self._sending: redis.Redis | None = None
        self._brpops: dict[tuple[tuple[str, ...], float], bytes] = {}
        super().__init__(*args, **kwargs)
        if not self.ack_emulation:
            self.QoS = _UnackedQoS  # type: ignore[assignment]  # kombu itself changes the class here

    def _create_client(self, asynchronous: bool = False) -> redis.Redis:  # noqa: FBT001, FBT002 - kombu's signature
        """A client that sends commands is made once for a pool: making it costs as much as what it is made for."""
        if asynchronous:
            made: redis.Redis = super()._create_client(asynchronous=True)
            return made
        client = self._sending
        if client is None or client.connection_pool is not self.pool:
            client = self._sending = super()._create_client()
        return client

    def record_garbage(self, queue: str, raw: bytes, reason: str) -> None:
        """Log a refused message, and keep it as a dead letter."""
        logger.warning("garbage_refused: %s", reason, extra={"queue": queue, "bytes": len(raw)})
        if self._garbage_sink is not None:
            self._garbage_sink.record_garbage(queue, raw, reason)

    def _brpop_start(self, timeout: int | None = None) -> None:
        """As kombu does it, which makes and packs the command anew with each message: there are but a few of them."""
        queues = tuple(self._queue_cycle.consume(len(self._active_queues)))
        if not queues:
            return
        wait = self.brpop_timeout if timeout is None else timeout
        packed = self._brpops.get((queues, wait))
        if packed is None:
            if len(self._brpops) == BRPOPS_KEPT:
                self._brpops.clear()
            keys = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
            packed = pack(("BRPOP", *(f"{self.global_keyprefix}{key}" for key in keys), wait or 0))
            self._brpops[queues, wait] = packed
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()  # type: ignore[assignment]  # kombu's begins as None
        self.client.connection.send_packed_command([packed])

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401 - kombu's signature
        try:
            reply = self._read_reply(**options)
        finally:
            # From here on no BRPOP waits for its reply, whatever becomes of this message: a channel closed from
            # inside a delivery must not wait for one.
            self._in_poll = False
            self._flush_brpop_reauth()
        if not reply:
            raise Empty
        key, raw = reply
        queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
        plain = self._plain(queue, raw)
        given = plain is not None and self._give(plain)
        self._queue_cycle.rotate(queue)
        payload = self._checked(queue, raw) if plain is None else plain.message()
        if payload is None:
            raise Empty
        if not given:
            self._foretell(queue, payload["headers"])
        self._deliver_guarded(queue, raw, payload)
        return True

    def _plain(self, queue: str, raw: bytes) -> guard.PlainWakeUp | None:
        """A message as a plain wake-up, where it is one that passes."""
        # Among control messages anything may call itself a wake-up.
        if queue not in self._task_queues or len(raw) > self.guard_max_bytes:
            return None
        plain = guard.read_plain(raw)
        return plain if plain is not None and guard.is_known(plain.function, self._tasks) else None

    def _give(self, wake_up: guard.PlainWakeUp) -> bool:
        """Whether somebody takes a wake-up before Celery is given it."""
        on_plain_wake_up = getattr(self._amqp, "on_plain_wake_up", None)
        return on_plain_wake_up is not None and on_plain_wake_up(wake_up)

    def _foretell(self, queue: str, headers: Mapping[str, Any]) -> None:
        on_wake_up = getattr(self._amqp, "on_wake_up", None)
        if on_wake_up is not None and WAKE_UP_HEADER in headers and self._is_task_queue(queue):
            on_wake_up(headers)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 - kombu's signature
        with self.conn_or_acquire() as client:
            for priority in self.priority_steps:
                while (raw := client.rpop(self._q_for_pri(queue, priority))) is not None:
                    payload = self._checked(queue, raw)
                    if payload is not None:
                        self._maybe_update_queues_expire(client, queue)
                        return payload
            self._maybe_update_queues_expire(client, queue)
        raise Empty

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:  # noqa: ANN401, ARG002 - kombu's signature
        # On Redis an empty list does not exist, but it is a queue all the same: asking for its length is no error.
        # (kombu asks EXISTS, which it forgets to prefix with `global_keyprefix`.)
        return True

    def _handle_message(self, client: Any, response: Any) -> dict[str, Any]:  # noqa: ANN401 - kombu's signature
        """Empty a pub/sub message that is malformed, so that kombu passes over it."""
        message: dict[str, Any] = super()._handle_message(client, response)
        if bytes_to_str(message["type"]).endswith("message") and message["data"]:
            channel, raw = bytes_to_str(message["channel"]), message["data"]
            command = channel.partition(".")[2].split("/", 1)[0].endswith(".pidbox")
            verdict = guard.check_control(raw, max_bytes=self.guard_max_bytes, command=command)
            if verdict.payload is None:
                _warn_of_control(channel, raw, verdict.reason)
                message["data"] = None
        return message

    def _deliver_fanout_message(self, message: dict[str, Any], exchange: str) -> bool:
        try:
            return bool(super()._deliver_fanout_message(message, exchange))
        except _NOT_THE_MESSAGE:
            raise
        except Exception:
            # Must survive anything: remote control and events come from whoever can publish.
            logger.exception("control_message_failed", extra={"exchange": exchange})
            return False

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - kombu's signature
        # Celery 5.7.0 closes a lost connection twice: `Connection.collect`, which takes the client away from the
        # transport, then `Connection.close`, for whose channels kombu looks up the client's host name. The
        # AttributeError ends or freezes the worker; a connection error is what Celery ignores there. Can go when
        # `celery.worker.consumer.Consumer.on_connection_error_after_connected` no longer closes what it collected.
        if self.connection is None or self.connection.client is None:
            msg = "the channel's connection is closed"
            raise redis.ConnectionError(msg)
        params: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        return {**params, **NO_DRIVER_INFO}

    def _read_reply(self, **options: Any) -> tuple[bytes, bytes] | None:  # noqa: ANN401 - redis-py's options
        connection = self.client.connection
        if connection is None or self.connection is None:
            msg = "the channel's connection is closed"
            raise redis.ConnectionError(msg)
        try:
            reply: tuple[bytes, bytes] | None = self.client.parse_response(connection, "BRPOP", **options)
        except ResponseError as error:
            # Celery logs no more of it than its class.
            logger.error("server_refused_brpop: %s", error)  # noqa: TRY400 - kombu's frames say nothing
            raise
        except self.connection_errors:
            connection.disconnect()
            raise
        return reply

    def _checked(self, queue: str, raw: bytes) -> dict[str, Any] | None:
        """A message's payload; None for garbage, which is recorded."""
        if self._is_task_queue(queue):
            verdict = guard.check(raw, max_bytes=self.guard_max_bytes, known_tasks=self._known_tasks)
            if verdict.payload is None:
                self.record_garbage(queue, raw, verdict.reason)
        else:
            verdict = guard.check_control(raw, max_bytes=self.guard_max_bytes)
            if verdict.payload is None:
                _warn_of_control(queue, raw, verdict.reason)
        return verdict.payload

    def _deliver_guarded(self, queue: str, raw: bytes, payload: dict[str, Any]) -> None:
        try:
            self.connection._deliver(payload, queue)  # noqa: SLF001 - kombu's own way
        except _NOT_THE_MESSAGE:
            raise
        except Exception as error:
            # Must survive anything: whatever Celery cannot bear in a message that looked right costs that message.
            logger.exception("delivery_failed", extra={"queue": queue})
            self.qos.ack(payload["properties"]["delivery_tag"])
            self.record_garbage(queue, raw, f"Celery failed at it: {type(error).__name__}: {str(error)[:200]}")

    def _is_task_queue(self, queue: str) -> bool:
        app = self._celery_app
        return not queue.endswith(".pidbox") if app is None else queue in app.amqp.queues

    @property
    def _known_tasks(self) -> Container[str] | None:
        # Looked up for each message: tasks may be registered while the worker runs.
        app = self._celery_app
        return None if app is None else app.tasks

    @cached_property
    def _amqp(self) -> AMQP | None:
        return None if self._celery_app is None else self._celery_app.amqp

    # Each is one object, to which may be added: Celery's own attributes look for it, under a lock, each time.

    @cached_property
    def _task_queues(self) -> Container[str]:
        return () if self._amqp is None else self._amqp.queues

    @cached_property
    def _tasks(self) -> Container[str]:
        return () if self._celery_app is None else self._celery_app.tasks

    @cached_property
    def _celery_app(self) -> Celery | None:
        return getattr(self.connection.client, "celery_app", None)

    @cached_property
    def _garbage_sink(self) -> GarbageSink | None:
        if self.guard_namespace is None:
            return None
        return GarbageSink(
            # Not the channel's own class of clients, which puts kombu's global_keyprefix before keys.
            client=redis.Redis(connection_pool=self.pool),
            namespace=self.guard_namespace,
            ttl_seconds=self.guard_dead_ttl_seconds,
            max_dead=self.guard_max_dead,
        )


class Transport(kombu_redis.Transport):
    """kombu's Redis transport with guarded channels."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - kombu's signature
        super().__init__(*args, **kwargs)
        self.cycle = LeanPoller()  # type: ignore[assignment]  # kombu sets its own in the same way


class GuardedConnection(kombu.Connection):
    """A connection that uses the guarded transport wherever kombu would use its Redis transport."""

    #: Whose tasks and queues the guard looks up.
    celery_app: Celery | None = None

    def get_transport_cls(self) -> type[kombu.transport.base.Transport]:
        found: type[kombu.transport.base.Transport] = super().get_transport_cls()
        return Transport if found is kombu_redis.Transport else found


class GuardedAMQP(AMQP):
    """Celery's side of the broker, with guarded connections."""

    #: Called with the headers of a wake-up that has passed the guard, before Celery is given it.
    on_wake_up: Callable[[Mapping[str, Any]], None] | None = None
    #: Called with a plain one before; whether its job was given to a process, which then needs no telling.
    on_plain_wake_up: Callable[[guard.PlainWakeUp], bool] | None = None

    def __init__(self, app: Celery) -> None:
        super().__init__(app)
        # A class of the app's own, because kombu copies a connection by calling its class.
        self.Connection = type("GuardedConnection", (GuardedConnection,), {"celery_app": app})  # type: ignore[assignment]


def use_guarded(app: Celery, settings: Settings) -> None:
    """Give an app the guarded transport, before it makes its first connection.

    Producers use it for the head of the queue, workers for the guard too. Works in every pool, with and without
    `ack_emulation`; other `broker_transport_options` stay as they are.
    """
    app.amqp_cls = f"{GuardedAMQP.__module__}:{GuardedAMQP.__name__}"
    # Celery makes this one when first asked, and keeps it.
    vars(app).pop("amqp", None)
    # A server that refuses a command (a replica after a failover, rights taken away, full, a key that is no list) is
    # to Celery an error of the channel, at which the worker ends by default. Connecting again waits for better times.
    app.conf.broker_channel_error_retry = True
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "guard_namespace": settings.namespace,
        "guard_max_bytes": settings.max_message_bytes,
        "guard_dead_ttl_seconds": settings.dead_letter_ttl_seconds,
        "guard_max_dead": settings.max_dead_letters,
    }


def _warn_of_control(source: str, raw: bytes, reason: str) -> None:
    logger.warning("control_message_refused: %s", reason, extra={"source": source, "bytes": len(raw)})

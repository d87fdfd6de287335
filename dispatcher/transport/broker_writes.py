"""What the broker is told otherwise than kombu does it: at the head of a queue, or on a server at `maxmemory`.

Keys of scripts are whole names: clients of kombu's put their prefix before none of them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis.exceptions import RedisError

from dispatcher.transport.failure import is_out_of_memory
from dispatcher.transport.keys import Keys
from dispatcher.transport.script import script

#: A message with this header, not false, is put where the next worker takes it.
HEAD_HEADER: Final = "dispatcher_head"


class Pushes:
    """Stands in for a publish batch of kombu's, and turns each push to the tail of a list into another command.

    Args:
        add: takes the command, as kombu's batch does.
        push: gives the command for a list and a message.
    """

    def __init__(self, add: Callable[..., object], push: Callable[[str, str], Sequence[object]]) -> None:
        self._add = add
        self._push = push

    def add(self, command: str, *args: Any) -> None:  # noqa: ANN401 - of any command
        """Add a command, or what takes its place."""
        self._add(*(self._push(*args) if command == "lpush" else (command, *args)))


class WritingChannel(kombu_redis.Channel):
    """kombu's channel, which puts messages at the head of queues too, and can be used on a full server."""

    #: Whether what is put is of jobs that were accepted long ago, and finds room on a server at `maxmemory` too.
    on_reserve = False

    #: Whether what is put was taken just before, and takes no more room than it took.
    _puts_back = False

    #: First part of the dead letters' keys. None: garbage is logged only.
    guard_namespace: str | None = None

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:  # noqa: ANN401 - kombu's signature
        command = "rpush" if message["headers"].get(HEAD_HEADER) else "lpush"
        is_old = self.on_reserve or self._puts_back
        if command == "lpush" and not is_old:
            super()._put(queue, message, **kwargs)
            return

        def push(key: str, text: str) -> Sequence[object]:
            if not is_old:
                return command, key, text
            name = f"{self.global_keyprefix}{key}"
            return "eval", *push_when_full(self._prefix, command, name, text, in_any_case=self._puts_back)

        batch = kwargs.pop("_publish_batch", None)
        if batch is not None:
            super()._put(queue, message, _publish_batch=Pushes(batch.add, push), **kwargs)
            return
        # In a transaction Redis refuses every command at `maxmemory`, whatever it does.
        with self.conn_or_acquire() as client, client.pipeline(transaction=not is_old) as pipe:
            pushes = Pushes(lambda name, *args: getattr(pipe, name)(*args), push)
            super()._put(queue, message, _publish_batch=pushes, **kwargs)
            pipe.execute()

    def _restore(self, message: virtual.Message, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - kombu's signature
        # What a node has taken and not begun when it stops. Of a plain Celery call there is nothing but this message.
        self._puts_back = True
        try:
            super()._restore(message, *args, **kwargs)
        finally:
            self._puts_back = False

    def _size(self, queue: str) -> int:
        # kombu asks in a transaction; see `_put`. A node asks this of each queue when it starts and when it sweeps.
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for priority in self.priority_steps:
                pipe.llen(self._q_for_pri(queue, priority))
            return sum(pipe.execute())

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except RedisError as error:
            if not is_out_of_memory(error):
                raise
            if self.typeof(exchange).type == "fanout":
                return  # it has subscribed; this is written, and nobody reads it
            if queue in self._expires:
                # For answers to remote control: there are none now. A node asks its neighbours when it starts (mingle).
                return
            prefixes = self.keyprefix_queue, self.keyprefix_binding_permanent
            keys = [f"{self.global_keyprefix}{prefix % exchange}" for prefix in prefixes]
            with self.conn_or_acquire() as client:
                client.eval(
                    *bind_when_full(self._prefix, keys, self.sep.join((routing_key or "", pattern or "", queue)))
                )

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - kombu's signature
        try:
            super()._delete(queue, *args, **kwargs)
        except RedisError as error:
            if not is_out_of_memory(error):
                raise
            # By now its bindings are deleted; its lists kombu deletes in a transaction.
            with self.conn_or_acquire() as client:
                client.delete(*(self._q_for_pri(queue, priority) for priority in self.priority_steps))

    def _refresh_bindings(self, queues: Iterable[str]) -> None:
        try:
            super()._refresh_bindings(queues)
        except RedisError as error:
            # Of queues for remote control, a few times a minute. kombu would try again each second, and log it.
            if not is_out_of_memory(error):
                raise

    @property
    def _prefix(self) -> str:
        return Keys(self.guard_namespace or "").prefix


def push_when_full(prefix: str, command: str, key: str, text: str, *, in_any_case: bool) -> Sequence[Any]:
    """The words, after EVAL, of a push that a full server takes too.

    Args:
        prefix: of the namespace.
        command: the push.
        key: the list.
        text: the message.
        in_any_case: also where the reserve is used up.
    """
    return script("push").text, 2, prefix, key, command, text, int(in_any_case)


def bind_when_full(prefix: str, keys: Sequence[str], binding: str) -> Sequence[Any]:
    """The words, after EVAL, that bind a queue on a full server too.

    Args:
        prefix: of the namespace.
        keys: kombu's sets of bindings.
        binding: as kombu writes it.
    """
    return script("bind").text, 1 + len(keys), prefix, *keys, binding

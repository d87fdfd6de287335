"""kombu's poller of its Redis channels, without what it looks up in vain in each turn of a worker's loop.

With every turn, of which there are three for a call, kombu makes the lists of each channel's queues anew and compares
what is asked for and polled with what should be. Nearly always it finds that nothing is to be done. It costs an eighth
of a node's main process: `benchmarks.calls --only single`.
"""

from typing import Any

from kombu.transport.redis import MultiChannelPoller


class LeanPoller(MultiChannelPoller):
    """Hands a turn to kombu only where some channel is not yet as it should be."""

    def on_poll_start(self) -> None:
        """Before the loop waits: whatever a channel consumes must be asked for."""
        if self._paused_brpop or not all(map(self._is_served, self._channels)):
            super().on_poll_start()

    def _is_served(self, channel: Any) -> bool:  # noqa: ANN401 - kombu's channel
        """Whether all is asked for and polled that a channel consumes, and it may take more."""
        fanout = channel.active_fanout_queues
        lists = any(queue not in fanout for queue in channel._active_queues)  # noqa: SLF001 - kombu's own
        return (
            channel.qos.can_consume()
            and (not lists or self._is_asked(channel, "client", "BRPOP", channel._in_poll))  # noqa: SLF001
            and (not fanout or self._is_asked(channel, "subclient", "LISTEN", channel._in_listen))  # noqa: SLF001
        )

    def _is_asked(self, channel: Any, name: str, command: str, connection: Any) -> bool:  # noqa: ANN401
        client = vars(channel).get(name)
        return (
            client is not None
            and bool(connection)
            and client.connection is connection
            and connection._sock is not None  # noqa: SLF001 - redis-py does not show it
            and (channel, client, command) in self._chan_to_sock
        )

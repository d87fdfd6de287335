"""Hands connections from a process of the prefork pool to its node."""

import json
import os
import socket
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from dispatcher.execution.leases import Offer
from dispatcher.transport.voice import Voice

#: Bytes of what is said of a connection, at most.
_SAID_BYTES: Final = 4096

#: What a node has taken. Its children have it too, and must not keep a connection that its process has ended.
_taken: WeakSet[Voice] = WeakSet()


class Post:
    """Made in the node before its process is forked; each has an end then."""

    def __init__(self) -> None:
        self._to, self._from = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self._to, self._from):
            end.settimeout(0)

    def hand(self, offer: Offer, pid: int) -> bool:
        """Hand a connection on; False where it cannot be."""
        said = [pid, offer.number, offer.before.decode("latin-1"), offer.after.decode("latin-1")]
        try:
            socket.send_fds(self._to, [json.dumps(said).encode()], [offer.written_to.fileno()])
        except OSError:
            return False
        return True

    def take(self, pid: int) -> Voice | None:
        """The last connection that this process has handed on; others were of those before it, and are let go."""
        voice: Voice | None = None
        with suppress(OSError):  # until nothing is left
            while True:
                said, descriptors, _, _ = socket.recv_fds(self._from, _SAID_BYTES, 1)
                for descriptor in descriptors:  # none, where the node may open no more
                    os.set_inheritable(descriptor, False)  # noqa: FBT003 - Python's signature
                    sender, number, before, after = json.loads(said)
                    found = Voice(
                        number, socket.socket(fileno=descriptor), before.encode("latin-1"), after.encode("latin-1")
                    )
                    if sender != pid:
                        found.let_go()
                        continue
                    if voice is not None:
                        voice.let_go()
                    voice = found
        if voice is not None:
            _taken.add(voice)
        return voice

    def __del__(self) -> None:
        self._to.close()
        self._from.close()


def leave_to_others() -> None:
    """In a process that was just forked: let go of connections that other processes have handed to its node."""
    for voice in list(_taken):
        voice.let_go()

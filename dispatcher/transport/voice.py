"""A connection on which one process asks and another hears the answer.

A node knows of a job before the process that is to run it does. It asks the ledger for the job on a connection of that
process's, by which the process is spared asking, and waits the less (`benchmarks.calls --only single`).

A process is told of what is asked before it is asked, and reads one answer for each time that it was told. Each answer
says for which job it is, so that nobody takes one for another. Whatever goes wrong ends the connection for both.
"""

import socket
from contextlib import suppress
from typing import TypeVar

import redis
from redis.exceptions import InvalidResponse, RedisError

from dispatcher.transport.held import Kept
from dispatcher.transport.script import Command
from dispatcher.transport.wire import Words, pack

T = TypeVar("T")


class Hearing:
    """The end of the process that made the connection.

    Args:
        client: one connection of its pool is kept.
        number: by which the two tell it from those before it.

    Raises:
        redis.RedisError: there is no connection.
    """

    def __init__(self, client: redis.Redis, number: int) -> None:
        self.number = number
        self._pool = client.connection_pool
        self._kept = Kept(self._pool.get_connection())

    @property
    def socket(self) -> socket.socket | None:
        """What the other process is to write to; None where it cannot, as with TLS."""
        return self._kept.plain

    def answer(self, command: Command[T], job_id: str) -> T:
        """The answer to a command, which the other process has sent, that asks for a job.

        Raises:
            redis.RedisError: as the ledger does; the connection has ended then.
        """
        try:
            reply = self._kept.read_response()
            if isinstance(reply, RedisError):
                raise reply  # noqa: TRY301 - it ends the connection, as all else does
            if reply[0][-1] != job_id.encode():
                msg = "an answer to another question"
                raise InvalidResponse(msg)  # noqa: TRY301
            return command.read(reply)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection, for the other process too."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        self._kept.connection.disconnect()
        self._pool.release(self._kept.connection)


class Voice:
    """The end of the process that asks.

    Args:
        number: the other end's.
        written_to: the connection.
        before, after: what is sent before and after a nonce; then comes a job's id, as the last word.
    """

    def __init__(self, number: int, written_to: socket.socket, before: bytes, after: bytes) -> None:
        self.number = number
        self._socket = written_to
        self._before = before
        self._after = after

    def ask(self, nonce: str, job_id: str) -> bool:
        """Ask for a job; False where that cannot be: the connection has ended then."""
        last = job_id.encode()
        packed = b"%b%b%b$%d\r\n%b\r\n" % (self._before, nonce.encode(), self._after, len(last), last)
        try:
            if self._socket.send(packed, socket.MSG_DONTWAIT) == len(packed):
                return True
        except OSError:
            pass
        self.close()
        return False

    def close(self) -> None:
        """End the connection, for the other process too."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.let_go()

    def let_go(self) -> None:
        """Leave the connection to others who have it."""
        self._socket.close()

    def __del__(self) -> None:
        self.let_go()


def around(words: Words, nonce: str) -> tuple[bytes, bytes]:
    """What stands before and after the nonce of a command whose last word is empty, without that word."""
    before, _, after = pack(words).partition(nonce.encode())
    return before, after.removesuffix(b"$0\r\n\r\n")

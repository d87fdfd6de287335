"""A node asks the ledger for a job, and the process that runs it hears the answer."""

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import InvalidResponse, NoScriptError

from dispatcher.clock import SystemClock
from dispatcher.execution import leases as leases_module
from dispatcher.execution.ending import Ending
from dispatcher.execution.leases import Asked, Leases
from dispatcher.execution.post import Post, leave_to_others
from dispatcher.execution.run import new_nonce
from dispatcher.settings import Settings
from dispatcher.transport.commands import Commands
from dispatcher.transport.connection import connect
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.ledger import Ledger
from dispatcher.transport.replies import Lease
from dispatcher.transport.voice import Hearing, Voice
from dispatcher.transport.wire import pack
from tests.integration.ledger_rig import Rig

WORKER = "worker@here"


class Clock(SystemClock):
    """Ahead of the true one by as much as is wanted."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Process:
    """A process that leases jobs, and its node."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.clock = Clock()
        self.commands = Commands(settings, self.clock)
        self.client = connect(f"{url}?socket_timeout=0.5", role="process")
        self.ledger = Ledger(self.client, keep=True)
        self.asked_itself: list[str] = []
        self.leases = Leases(self.ledger, self.commands, self.clock, self.persist, settings)

    def persist(self, command: Any) -> Any:
        self.asked_itself.append(command.args[1])
        return self.ledger.run(command)

    def offer(self) -> Voice | None:
        offer = self.leases.offer(WORKER)
        if offer is None:
            return None
        return Voice(offer.number, offer.written_to.dup(), offer.before, offer.after)

    def run(self, voice: Voice, job_id: str, nonce: str, at: float | None = None) -> Lease | Ending:
        """Be told of a job, have the node ask for it, and hear the answer."""
        self.leases.expect(job_id, WORKER, Asked(voice.number, nonce, self.clock.monotonic() if at is None else at))
        voice.ask(nonce, job_id)
        return self.leases.ask(job_id, WORKER)


@pytest.fixture
def process(server: EmbeddedServer, rig: Rig) -> Iterator[Process]:
    rig.leased(rig.waiting())  # the server knows the script from now on
    made = Process(server.url, rig.settings)
    yield made
    made.client.close()


@pytest.fixture
def voice(process: Process) -> Iterator[Voice]:
    made = process.offer()
    assert made is not None
    yield made
    made.let_go()


def test_what_the_node_has_asked_for_is_leased_without_asking(process: Process, voice: Voice, rig: Rig) -> None:
    for _ in range(3):
        job_id = rig.waiting()
        leased = process.run(voice, job_id, new_nonce())
        assert isinstance(leased, Lease)
        assert leased.job_id == job_id
        status = rig.status(job_id)
        assert status is not None
        assert status.worker == WORKER
    assert process.asked_itself == []


def test_a_refusal_is_heard_too(process: Process, voice: Voice, rig: Rig) -> None:
    job_id = rig.waiting()
    process.run(voice, job_id, new_nonce())
    again = process.run(voice, job_id, new_nonce())
    assert again == Ending(what="dropped", text="leased_elsewhere")
    assert process.asked_itself == []


@pytest.fixture(params=["by the node", "by the server", "in another order", "without a word"])
def broken(request: pytest.FixtureRequest, process: Process, voice: Voice, rig: Rig) -> Voice:
    """A voice that does not, or no longer, say what the process listens for."""
    if request.param == "by the node":
        voice.close()
    elif request.param == "by the server":
        number = process.leases._hearing._kept.socket.getsockname()[1]  # type: ignore[union-attr]
        rig.client.client_kill_filter(addr=f"127.0.0.1:{number}")
    elif request.param == "in another order":
        voice.ask(new_nonce(), rig.waiting())
    else:
        voice.ask = lambda *_: True  # type: ignore[method-assign]
    return voice


def test_where_the_answer_is_not_heard_the_process_asks_under_the_same_nonce(
    process: Process, broken: Voice, rig: Rig
) -> None:
    job_id, nonce = rig.waiting(), new_nonce()
    leased = process.run(broken, job_id, nonce)
    assert isinstance(leased, Lease)
    assert leased.job_id == job_id
    assert process.asked_itself == [nonce]
    # It has ended for the node too, which learns of it when it asks next, or is told that nobody listens.
    assert not process.leases.expect(rig.waiting(), WORKER, Asked(broken.number, new_nonce(), time.monotonic()))


def test_after_a_pause_another_is_offered(process: Process, voice: Voice, rig: Rig) -> None:
    assert process.offer() is None, "the node may not have heard of the first"
    process.clock.ahead = leases_module.OFFER_PAUSE
    later = process.offer()
    assert later is not None
    assert later.number != voice.number
    assert not voice.ask(new_nonce(), rig.waiting()) or not voice.ask(new_nonce(), rig.waiting())
    assert isinstance(process.run(later, rig.waiting(), new_nonce()), Lease)
    assert process.asked_itself == []


def test_what_was_asked_for_long_before_it_is_run_is_asked_for_again(process: Process, voice: Voice, rig: Rig) -> None:
    job_id, nonce = rig.waiting(), new_nonce()
    leased = process.run(voice, job_id, nonce, at=process.clock.monotonic() - leases_module.GOOD_SECONDS)
    assert isinstance(leased, Lease)
    assert process.asked_itself == [nonce]
    assert process.leases._hearing is None, "its answer is nobody's"


def test_an_answer_that_nobody_wants_is_not_taken_for_the_next(process: Process, voice: Voice, rig: Rig) -> None:
    first, second = rig.waiting(), rig.waiting()
    nonce = new_nonce()
    process.leases.expect(first, WORKER, Asked(voice.number, nonce, time.monotonic()))
    voice.ask(nonce, first)
    leased = process.leases.ask(second, WORKER)
    assert isinstance(leased, Lease)
    assert leased.job_id == second


def test_a_server_that_has_forgotten_the_script_is_asked_with_it(process: Process, voice: Voice, rig: Rig) -> None:
    rig.client.script_flush()
    assert isinstance(process.run(voice, rig.waiting(), new_nonce()), Lease)
    assert len(process.asked_itself) == 1


def test_a_connection_whose_bytes_are_not_the_commands_is_not_offered(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hearing, "socket", None)
    assert process.offer() is None
    process.clock.ahead = 10 * leases_module.OFFER_PAUSE
    assert process.offer() is None


def test_where_there_is_no_server_none_is_offered() -> None:
    assert Process("redis://127.0.0.1:1", Settings()).offer() is None


class TestHearing:
    """The end that hears, by itself."""

    @pytest.fixture
    def hearing(self, server: EmbeddedServer) -> Iterator[Hearing]:
        with connect(server.url, role="hearing") as client:
            yield Hearing(client, 1)

    @pytest.mark.parametrize(
        ("sent", "error"),
        [
            (pack(("EVAL", "return {{'leased', 'another'}}", 0)), InvalidResponse),
            (pack(("EVAL", "return 1", 0)), TypeError),
            (pack(("EVALSHA", "x", 0)), NoScriptError),
        ],
    )
    def test_ends_with_the_first_thing_that_is_wrong(
        self, hearing: Hearing, sent: bytes, error: type[Exception]
    ) -> None:
        assert hearing.socket is not None
        other = hearing.socket.dup()
        other.send(sent)
        with pytest.raises(error):
            hearing.answer(SimpleNamespace(read=str), "job")  # type: ignore[arg-type]
        with pytest.raises(OSError, match="pipe"):
            other.send(sent)
        other.close()


class TestPost:
    """How a connection comes from a process to its node."""

    @pytest.fixture
    def connection(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ends = socket.socketpair()
        ends[1].settimeout(5)
        yield ends
        for end in ends:
            end.close()

    @staticmethod
    def offer(written_to: socket.socket, number: int) -> Any:
        return SimpleNamespace(number=number, written_to=written_to, before=b"\xff<", after=b">")

    def handed_on(self, written_to: socket.socket) -> Voice:
        post = Post()
        post.hand(self.offer(written_to, 1), 7)
        voice = post.take(7)
        assert voice is not None
        return voice

    def test_the_node_writes_what_the_process_said(self, connection: tuple[socket.socket, socket.socket]) -> None:
        post = Post()
        assert post.take(7) is None
        assert post.hand(self.offer(connection[0], 3), 7)
        voice = post.take(7)
        assert voice is not None
        assert voice.number == 3
        assert voice.ask("n", "jöb")
        assert connection[1].recv(1000) == b"\xff<n>$4\r\nj\xc3\xb6b\r\n"

    def test_the_last_of_this_process_is_taken(self, connection: tuple[socket.socket, socket.socket]) -> None:
        post = Post()
        for number, pid in ((1, 6), (1, 7), (2, 7), (3, 6)):
            post.hand(self.offer(connection[0], number), pid)
        voice = post.take(7)
        assert voice is not None
        assert voice.number == 2
        assert post.take(7) is None

    def test_a_node_that_may_open_no_more_takes_none(self, connection: tuple[socket.socket, socket.socket]) -> None:
        post = Post()
        post._to.send(b'[7, 1, "", ""]')
        assert post.take(7) is None

    def test_what_was_taken_is_not_for_programs_that_the_node_starts(
        self, connection: tuple[socket.socket, socket.socket]
    ) -> None:
        voice = self.handed_on(connection[0])
        assert not voice._socket.get_inheritable()

    def test_a_new_process_leaves_the_connections_of_others(
        self, connection: tuple[socket.socket, socket.socket]
    ) -> None:
        voice = self.handed_on(connection[0])
        leave_to_others()
        connection[0].send(b"still there")
        assert connection[1].recv(1000) == b"still there"
        assert not voice.ask("n", "job")

    def test_what_cannot_be_sent_at_once_ends_the_connection(
        self, connection: tuple[socket.socket, socket.socket]
    ) -> None:
        voice = Voice(1, connection[0].dup(), b"", b"")
        asked = 0
        while voice.ask("n" * 32, "job"):
            asked += 1
        assert asked > 0
        while connection[1].recv(1 << 20):
            pass

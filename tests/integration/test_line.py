"""One connection is shared by many callers, and each of them hears of its own commands, or of the connection's end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as SilentServer

from dispatcher.transport import announcements as module
from dispatcher.transport.announcements import Announcements
from dispatcher.transport.connection import connect_async
from dispatcher.transport.embedded import EmbeddedServer
from dispatcher.transport.keys import Keys
from dispatcher.transport.line import Line

Answer = Callable[[bytes], bytes | None]

#: What a scripted server says to the commands of a handshake, and of a check of an idle connection.
POLITE = {b"CLIENT": b"+OK\r\n", b"SELECT": b"+OK\r\n", b"PING": b"+PONG\r\n"}


class Scripted:
    """A server that answers each command as it is told; None: it closes the connection."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.heard: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            reply = POLITE.get(words[0])
            if reply is None or words[0] == b"PING":
                self.heard.append(words[0])
            reply = reply or self._answer(words[0])
            if reply is None:
                break
            writer.write(reply)
        writer.close()


@asynccontextmanager
async def scripted(folder: Path, answer: Answer) -> AsyncIterator[tuple[Scripted, redis.asyncio.Redis]]:
    server, path = Scripted(answer), folder / "s"
    async with await asyncio.start_unix_server(server.serve, path):
        async with connect_async(f"redis+socket://{path}", role="test") as client:
            yield server, client
        for writer in server.connections:
            writer.close()


def echo(word: bytes) -> bytes:
    return b"+%s\r\n" % word


async def failure(waiting: Awaitable[object]) -> BaseException:
    (error,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(error, BaseException), error
    return error


async def test_callers_share_one_connection_and_each_gets_its_own_replies(tmp_path: Path) -> None:
    async with scripted(tmp_path, echo) as (server, client):
        line = Line(client)
        answers = await asyncio.gather(*(line.exchange([(f"A{n}",), (f"B{n}",)]) for n in range(50)))
    assert answers == [[b"A%d" % n, b"B%d" % n] for n in range(50)]
    assert len(server.connections) == 1


async def test_a_refusal_is_an_entry_and_the_servers_word_that_it_is_not_ready_is_raised(tmp_path: Path) -> None:
    said = {b"BAD": b"-ERR no\r\n", b"EARLY": b"-LOADING it loads\r\n"}
    async with scripted(tmp_path, lambda word: said.get(word, echo(word))) as (_, client):
        line = Line(client)
        good, bad = await line.exchange([("GOOD",), ("BAD",)])
        assert (good, type(bad), str(bad)) == (b"GOOD", ResponseError, "no")
        with pytest.raises(LostConnection, match="it loads"):
            await line.exchange([("EARLY",)])


async def test_a_caller_that_gives_up_takes_nobody_elses_reply(tmp_path: Path) -> None:
    async with scripted(tmp_path, echo) as (_, client):
        line = Line(client)
        await line.exchange([("FIRST",)])
        given_up = asyncio.create_task(line.exchange([("GIVEN-UP",)]))
        await asyncio.sleep(0)
        given_up.cancel()
        assert await line.exchange([("KEPT",)]) == [b"KEPT"]
        assert given_up.cancelled()


async def test_when_the_connection_breaks_all_who_wait_are_told_and_the_next_connects_again(tmp_path: Path) -> None:
    async with scripted(tmp_path, lambda word: None if word == b"BREAK" else echo(word)) as (server, client):
        line = Line(client)
        errors = await asyncio.gather(
            *(failure(line.exchange([(word,)])) for word in ("BREAK", "AFTER", "AFTER")),
        )
        assert [type(error) for error in errors] == [LostConnection] * 3
        assert errors[1] is not errors[2], "a traceback must not be shared between tasks"
        assert await line.exchange([("AGAIN",)]) == [b"AGAIN"]
        assert len(server.connections) == 2


async def test_a_connection_that_was_closed_while_nobody_used_it_costs_no_caller_its_command(tmp_path: Path) -> None:
    async with scripted(tmp_path, echo) as (server, client):
        line = Line(client)
        for _ in range(3):
            assert await line.exchange([("WORD",)]) == [b"WORD"]
            server.connections[-1].close()
            await asyncio.sleep(0)  # closed on that side; this side's loop has not looked
    assert server.heard.count(b"WORD") == 3


async def test_a_silent_server_is_given_up_after_the_time_for_an_answer(tmp_path: Path) -> None:
    async with scripted(tmp_path, lambda word: b"" if word == b"SILENT" else echo(word)) as (server, client):
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.05
        line = Line(client)
        assert await line.exchange([("WORD",)]) == [b"WORD"]
        for _ in range(2):
            with pytest.raises(SilentServer):
                await line.exchange([("SILENT",)])
        assert len(server.connections) == 2, "a late answer must not be taken for another command's"


async def test_a_long_reply_that_is_on_its_way_is_no_silence(tmp_path: Path) -> None:
    async with scripted(tmp_path, lambda word: b"" if word == b"SLOW" else echo(word)) as (server, client):
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        line = Line(client)
        await line.exchange([("WORD",)])
        waiting = asyncio.create_task(line.exchange([("SLOW",)]))
        for piece in (b"$5\r\n", b"h", b"e", b"l", b"l", b"o\r\n"):
            await asyncio.sleep(0.08)
            server.connections[-1].write(piece)
        assert await waiting == [b"hello"]


async def test_a_connection_that_was_silent_for_long_is_tried_before_it_is_used(tmp_path: Path) -> None:
    async with scripted(tmp_path, echo) as (server, client):
        line = Line(client)
        await line.exchange([("WORD",)])
        assert line._connection is not None
        line._connection.health_check_interval = 0.01  # type: ignore[assignment]  # redis-py's are whole seconds
        await asyncio.sleep(0.02)
        await line.exchange([("WORD",)])
        await line.exchange([("WORD",)])
    assert server.heard[-4:] == [b"WORD", b"PING", b"WORD", b"WORD"]


@pytest.mark.parametrize("said", [b"?nonsense\r\n", b"+one\r\n+too many\r\n"])
async def test_a_server_that_speaks_otherwise_is_left(tmp_path: Path, said: bytes) -> None:
    async with scripted(tmp_path, lambda word: said if word == b"ODD" else echo(word)) as (server, client):
        line = Line(client)
        first = await asyncio.gather(line.exchange([("ODD",)]), return_exceptions=True)
        assert first == [[b"one"]] or isinstance(first[0], InvalidResponse)
        await asyncio.sleep(0.01)
        assert await line.exchange([("WORD",)]) == [b"WORD"]
        assert len(server.connections) == 2


async def test_a_word_that_is_no_text_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with scripted(tmp_path, echo) as (server, client):
        line = Line(client)
        with pytest.raises(UnicodeEncodeError):
            await line.exchange([("GOOD",), ("\ud800",)])
        assert b"GOOD" not in server.heard


async def test_more_than_the_server_takes_at_once_waits(tmp_path: Path) -> None:
    async with scripted(tmp_path, echo) as (server, client):
        line = Line(client)
        answers = await asyncio.gather(*(line.exchange([("LONG", "x" * 200_000)]) for _ in range(30)))
    assert answers == [[b"LONG"]] * 30
    assert len(server.connections) == 1


async def test_it_ends_with_its_client(server: EmbeddedServer) -> None:
    client = connect_async(server.url, role="test")
    line = Line(client)
    assert await line.exchange([("ECHO", "here")]) == [b"here"]
    waiting = asyncio.create_task(line.exchange([("BLPOP", "nothing-comes", 0)]))
    await asyncio.sleep(0.01)
    await client.aclose()
    assert isinstance(await failure(waiting), RedisError)


class TestAnnouncements:
    async def test_what_is_announced_faster_than_it_is_read_is_kept_in_order(
        self, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "HEARD_BYTES", 50)
        keys = Keys("test-announcements", "")
        async with connect_async(server.url, blocking=True) as client, connect_async(server.url) as other:
            heard = Announcements(client, keys, "me")
            await heard.subscribe()
            for number in range(100):
                await other.publish(keys.announcements("me"), b"%d\n{}" % number)
            ids = [found.job_id for _ in range(100) for found in await heard.next()]
            assert ids == [str(number) for number in range(100)]
            await heard.close()

    async def test_a_broken_subscription_is_an_error_until_it_stands_again(self, server: EmbeddedServer) -> None:
        keys = Keys("test-announcements", "")
        async with connect_async(server.url, blocking=True) as client, connect_async(server.url) as other:
            heard = Announcements(client, keys, "me")
            await heard.subscribe()
            await other.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            for _ in range(2):
                with pytest.raises(LostConnection):
                    await heard.next()
            await heard.close()
            await heard.subscribe()
            await other.publish(keys.announcements("me"), b"job\nmeta")
            (found,) = await heard.next()
            assert (found.job_id, found.meta) == ("job", b"meta")
            await heard.close()

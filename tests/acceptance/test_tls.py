"""A server behind TLS: everything goes through it, and a certificate that nobody vouches for ends everything."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from dispatcher import Dispatcher, Settings
from dispatcher.errors import ServerError
from dispatcher.transport.embedded import EmbeddedServer
from tests.acceptance import functions
from tests.acceptance.helpers import LONG, QUICK_SETTINGS, Worker

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program for a certificate")


class TlsProxy:
    """Takes TLS connections on a port of its own, and passes what they say to a server."""

    def __init__(self, port: int, certificate: Path, key: Path) -> None:
        self._server_port = port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-proxy", daemon=True)
        self._listening: asyncio.Server | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self._listening = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        assert self._listening is not None
        self._listening.close()
        passing = asyncio.all_tasks() - {asyncio.current_task()}
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs_reader, theirs_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        await asyncio.gather(_pass(reader, theirs_writer), _pass(theirs_reader, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while said := await reader.read(65_536):
                writer.write(said)
                await writer.drain()
    finally:
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of 127.0.0.1, vouched for by itself; and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=dispatcher",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[tuple[str, TlsProxy]]:
    """The password of a server, and its TLS side."""
    with EmbeddedServer(tmp_path_factory.mktemp("behind-tls")) as server:
        url = urlsplit(server.url)
        assert url.port is not None
        with TlsProxy(url.port, *certificate) as running:
            yield url.password or "", running


async def test_calls_go_their_whole_way_through_tls(
    proxy: tuple[str, TlsProxy], certificate: tuple[Path, Path], start_worker: Callable[..., Worker]
) -> None:
    password, running = proxy
    url = f"rediss://:{password}@127.0.0.1:{running.port}/0?ssl_ca_certs={certificate[0]}"
    settings = Settings.load(url=url, **QUICK_SETTINGS)
    start_worker(settings)
    async with Dispatcher(functions.registry, settings=settings) as dispatcher:
        handle = await dispatcher.dispatch(functions.add.call(1, 2))
        assert await handle.result(LONG) == 3
        outcomes = await dispatcher.gather(*(functions.add.call(number) for number in range(50)))
        assert [outcome.value for outcome in outcomes] == list(range(50))
        rows = ({"a": number, "b": 1} for number in range(500))
        assert [outcome.value async for outcome in dispatcher.map(functions.add, rows)] == list(range(1, 501))


async def test_a_certificate_that_nobody_vouches_for_is_refused_with_a_word_and_without_the_password(
    proxy: tuple[str, TlsProxy],
) -> None:
    password, running = proxy
    settings = Settings.load(
        url=f"rediss://:{password}@127.0.0.1:{running.port}/0", dispatch_timeout_seconds=1, **QUICK_SETTINGS
    )
    with pytest.raises(ServerError, match="certificate") as raised:
        await Dispatcher(functions.registry, settings=settings).start()
    assert password not in str(raised.value)

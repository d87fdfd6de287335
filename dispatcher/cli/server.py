"""The server that one command uses, and what becomes of it afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from dispatcher.errors import ServerError
from dispatcher.settings import Settings
from dispatcher.transport.connection import check_server, connect, redact, server_errors
from dispatcher.transport.embedded import EmbeddedServer, find_server


@dataclass(frozen=True, kw_only=True)
class ServerInUse:
    """A server, for as long as a command runs."""

    #: With the password.
    url: str
    #: The caller's settings, with this server in them.
    settings: Settings
    #: None where a server is configured.
    embedded: EmbeddedServer | None

    @property
    def address(self) -> str:
        """Without the password."""
        return redact(self.url)

    def check(self) -> None:
        """Ask it who it is, before anything is started that would wait for it.

        Raises:
            ServerError: it does not answer, does not let us in, or is too old.
        """
        with connect(self.url, role="cli") as client:
            check_server(client)

    @property
    def how(self) -> str:
        """In a word, for people: where it comes from."""
        if self.embedded is None:
            return "configured"
        return "started" if self.started_here else "shared"

    @property
    def started_here(self) -> bool:
        """Whether no other process had a server running here."""
        return self.embedded is not None and self.embedded.is_owner


@contextmanager
def server_in_use(settings: Settings, *, stop: bool = False) -> Iterator[ServerInUse]:
    """The configured server, or the embedded one: shared, or started for this command.

    Args:
        settings: where it is, or where its folder is.
        stop: stop a server that was started here in any case. Else it is left to whoever uses it by then, as a worker
            that was started meanwhile does.

    Raises:
        NoServerError: none is configured, and none can be started.
    """
    url, embedded = find_server(settings)
    try:
        yield ServerInUse(url=url, settings=settings.model_copy(update={"url": SecretStr(url)}), embedded=embedded)
    finally:
        if embedded is not None:
            if stop or not _others_use(embedded):
                embedded.stop()
            else:
                embedded.leave()


def _others_use(embedded: EmbeddedServer) -> bool:
    if not embedded.is_owner:
        return True
    try:
        with server_errors(embedded.url), connect(embedded.url, role="cli") as client:
            return len(client.client_list()) > 1
    except ServerError:
        return False

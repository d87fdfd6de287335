"""Where the server is: one URL, read once, spelled for redis-py, for kombu and for people."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from dispatcher.errors import SettingsError

DEFAULT_HOST = "localhost"
DEFAULT_PORT = 6379

_TCP_SCHEMES = frozenset({"redis", "valkey"})
_TLS_SCHEMES = frozenset({"rediss", "valkeys"})
#: `redis+socket` is kombu's spelling, `unix` redis-py's, `valkey+unix` valkey-py's.
_SOCKET_SCHEMES = frozenset({"redis+socket", "unix", "valkey+unix"})
_TLS_OPTIONS = frozenset({"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})
_TIMEOUT_OPTIONS = frozenset({"socket_timeout", "socket_connect_timeout"})
_CERTIFICATE_CHECKS = frozenset({"none", "optional", "required"})

_SPELLINGS = "redis://host:port/db, rediss://host:port/db (TLS) or redis+socket:///path"
_HOST = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+\]", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerAddress:
    """A server's URL, taken apart. Its text is for people and holds no password."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    #: The Unix socket, in place of host and port.
    socket_path: str | None = None
    tls: bool = False
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    #: What stood in the query and is not one of the fields above: TLS options and timeouts (seconds), as text.
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, url: str) -> "ServerAddress":
        """Read a URL in any of the spellings that redis-py, valkey-py and kombu know.

        Raises:
            SettingsError: saying what is wrong with the URL, without its password.
        """
        if not url.strip():
            msg = f"the server's URL is empty: write {_SPELLINGS}, or leave DISPATCHER_URL unset for an embedded server"
            raise SettingsError(msg)
        try:
            url.encode()
        except UnicodeEncodeError:
            raise _wrong(url, "it is not UTF-8") from None
        try:
            split = urlsplit(url)
            port = split.port
        except ValueError:
            raise _wrong(url, "it cannot be read; a / ? # or @ in a password must be percent-encoded") from None
        if "@" in split.path + split.query + split.fragment:
            raise _wrong(url, "a / ? # or @ in a password must be percent-encoded")
        scheme = split.scheme
        if scheme not in _TCP_SCHEMES | _TLS_SCHEMES | _SOCKET_SCHEMES:
            raise _wrong(url, f"the scheme must be one of {_SPELLINGS}")
        query = dict(parse_qsl(split.query, keep_blank_values=True))
        in_socket = scheme in _SOCKET_SCHEMES
        address = cls(
            host=unquote(split.hostname) if split.hostname else DEFAULT_HOST,
            port=port if port is not None else DEFAULT_PORT,
            socket_path=_socket_path(url, split) if in_socket else None,
            tls=scheme in _TLS_SCHEMES,
            db=_database(url, query, path="" if in_socket else split.path),
            username=unquote(split.username) if split.username else query.pop("username", None),
            password=unquote(split.password) if split.password else query.pop("password", None),
            options=MappingProxyType(query),
        )
        _check_options(url, address)
        return address

    def __str__(self) -> str:
        if self.socket_path is not None:
            return f"redis+socket://{self.socket_path}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @property
    def certificate_check(self) -> str:
        """How the server's TLS certificate is checked: required (the default), optional or none."""
        return _certificate_check(self.options.get("ssl_cert_reqs", "required"))

    @property
    def kombu_url(self) -> str:
        """The spelling that kombu and Celery's result backend both understand, password included.

        A `rediss` URL without `ssl_cert_reqs` makes kombu skip the certificate check, with a warning only, and makes
        Celery's backend fail; so it is always there (kombu 5.7.0, `Connection._init_params`).
        """
        query = {name: value for name, value in self.options.items() if name in _TLS_OPTIONS}
        if self.tls:
            query["ssl_cert_reqs"] = f"CERT_{self.certificate_check.upper()}"
        user = quote(self.username or "", safe="")
        password = f":{quote(self.password, safe='')}" if self.password is not None else ""
        who = f"{user}{password}@" if user or password else ""
        if self.socket_path is not None:
            if self.db:
                query["virtual_host"] = str(self.db)
            place = f"redis+socket://{who}{quote(self.socket_path)}"
        else:
            host = f"[{self.host}]" if ":" in self.host else self.host
            place = f"{'rediss' if self.tls else 'redis'}://{who}{host}:{self.port}/{self.db}"
        return f"{place}?{urlencode(query)}" if query else place


def redact(url: str) -> str:
    """The address for people: no user, no password, no query. Never raises; what it cannot read, it does not show."""
    try:
        return str(ServerAddress.parse(url))
    except SettingsError:
        return _redact_roughly(url)


def is_server_url(url: str) -> bool:
    """Whether a URL is of a Redis or Valkey server, in any spelling."""
    return url.partition(":")[0].lower() in _TCP_SCHEMES | _TLS_SCHEMES | _SOCKET_SCHEMES


def kombu_url(url: str) -> str:
    """The spelling that kombu understands, password included.

    Raises:
        SettingsError: the URL cannot be read.
    """
    return ServerAddress.parse(url).kombu_url


def _redact_roughly(url: str) -> str:
    """Show the host of a URL that is not one of ours (another broker's, or a wrong one), if it surely is the host."""
    scheme, separator, _ = url.partition("://")
    if not separator or re.fullmatch(r"[a-z][a-z0-9+.-]{0,30}", scheme) is None:
        return "(unreadable address)"
    hidden = f"{scheme}://…"
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        return hidden
    host = split.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if "@" in split.path + split.query + split.fragment or _HOST.fullmatch(host) is None:
        return hidden
    return f"{scheme}://{host}" + (f":{port}" if port is not None else "")


def _wrong(url: str, problem: str) -> SettingsError:
    return SettingsError(f"the server's URL ({_redact_roughly(url)}): {problem}")


def _socket_path(url: str, split: SplitResult) -> str:
    host = split.netloc.rpartition("@")[2]
    path = unquote(split.path)
    if host or len(path) < 2:  # noqa: PLR2004 - a slash and something
        raise _wrong(url, "a socket's path is absolute, so it comes after three slashes: redis+socket:///path")
    return path


def _database(url: str, query: dict[str, str], *, path: str) -> int:
    """The database's number: `?db=`, kombu's `?virtual_host=`, or the path. Takes what it reads out of `query`."""
    in_query = [query.pop(name) for name in ("db", "virtual_host") if name in query]
    text = in_query[0] if in_query else path.strip("/")
    if not text:
        return 0
    if re.fullmatch(r"[0-9]{1,6}", text) is None:
        raise _wrong(url, "the database must be a number, as in redis://host:6379/0")
    return int(text)


def _certificate_check(text: str) -> str:
    """redis-py's word for it; kombu's is `CERT_REQUIRED`."""
    return text.lower().removeprefix("cert_")


def _check_options(url: str, address: ServerAddress) -> None:
    """Refuse what nobody would read, and what would quietly be something else than was meant."""
    known = _TIMEOUT_OPTIONS | _TLS_OPTIONS if address.tls else _TIMEOUT_OPTIONS
    unknown = sorted(set(address.options) - known)
    if unknown:
        raise _wrong(url, f"it has options nobody reads here: {', '.join(map(ascii, unknown))}; known: {sorted(known)}")
    if address.certificate_check not in _CERTIFICATE_CHECKS:
        raise _wrong(url, f"ssl_cert_reqs must be one of {sorted(_CERTIFICATE_CHECKS)}")
    for name in _TIMEOUT_OPTIONS & set(address.options):
        seconds = address.options[name]
        if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", seconds) is None or float(seconds) == 0:
            raise _wrong(url, f"{name} must be a number of seconds above 0")

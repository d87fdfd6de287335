"""Addresses, clients and error translation, as far as they go without a server."""

import ssl

import celery
import kombu.exceptions
import pytest
import redis
import redis.exceptions as redis_errors
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import parse_url as kombu_parse_url

from dispatcher.errors import (
    Acceptance,
    ServerAuthError,
    ServerError,
    ServerFullError,
    ServerUnreachableError,
    ServerUnusableError,
    SettingsError,
)
from dispatcher.transport.connection import (
    ServerAddress,
    connect,
    connect_async,
    kombu_url,
    redact,
    refused,
    server_errors,
    translate,
)

SECRET = "s3cr3tPassw0rd"
ADDRESS = "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
        (f"redis://:{SECRET}@127.0.0.1:6380/2", "redis://127.0.0.1:6380/2"),
        (f"redis://user:{SECRET}@db.example.com/", "redis://db.example.com:6379/0"),
        (f"redis://db.example.com/1?password={SECRET}", "redis://db.example.com:6379/1"),
        (f"rediss://user:{SECRET}@db.example.com:6390/0?ssl_cert_reqs=none", "rediss://db.example.com:6390/0"),
        ("valkey://[::1]:6379", "redis://[::1]:6379/0"),
        (f"valkeys://:{SECRET}@db.example.com", "rediss://db.example.com:6379/0"),
        (f"redis+socket://:{SECRET}@/run/valkey.sock?virtual_host=3", "redis+socket:///run/valkey.sock?db=3"),
        (f"unix://user:{SECRET}@/run/valkey.sock", "redis+socket:///run/valkey.sock"),
        (f"valkey+unix:///run/valkey.sock?password={SECRET}", "redis+socket:///run/valkey.sock"),
        (f"amqp://user:{SECRET}@rabbit.example.com:5672//", "amqp://rabbit.example.com:5672"),
    ],
)
def test_an_address_for_people_has_no_secret_and_its_defaults_filled_in(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize("url", ["", "nonsense", SECRET, f"{SECRET}@host", f"user:{SECRET}@host:6379", "redis://[::1"])
def test_what_is_no_address_is_not_shown(url: str) -> None:
    assert SECRET not in redact(url)
    assert redact(url) in ("(unreadable address)", "redis://…")


@given(
    scheme=st.sampled_from(["redis", "rediss", "valkey", "redis+socket", "unix", "amqp", "http"]),
    before=st.text(alphabet="ab1:/?#@%[]& =", max_size=6),
    after=st.text(alphabet="ab1:/?#@%[]& =", max_size=6),
    tail=st.sampled_from(["@host:6379/0", "@host", "@/run/x.sock", "@[::1]:6379"]),
)
def test_a_password_with_unescaped_signs_is_never_shown(scheme: str, before: str, after: str, tail: str) -> None:
    assert SECRET not in redact(f"{scheme}://:{before}{SECRET}{after}{tail}")


@given(st.text())
def test_redacting_never_raises(url: str) -> None:
    assert redact(url)
    assert redact(f"redis://{url}")


@given(
    password=st.text(min_size=1, max_size=20).filter(lambda text: text.encode(errors="ignore").decode() == text),
    username=st.sampled_from([None, "user", "u@s/e:r"]),
    db=st.integers(0, 15),
    path=st.sampled_from([None, "/run/valkey.sock", "/with space/v.sock"]),
)
def test_what_kombu_reads_is_what_we_read(password: str, username: str | None, db: int, path: str | None) -> None:
    address = ServerAddress(db=db, username=username, password=password, socket_path=path)
    assert ServerAddress.parse(address.kombu_url) == address
    if path is None:  # for a socket, kombu's transport parses a second time
        read = kombu_parse_url(address.kombu_url)
        assert (read["userid"], read["password"], read["virtual_host"]) == (username, password, str(db))


def test_kombu_is_told_to_check_certificates_unless_the_url_says_otherwise() -> None:
    assert kombu_parse_url(kombu_url("rediss://h:6379/0"))["ssl"]["ssl_cert_reqs"] is ssl.CERT_REQUIRED
    assert kombu_parse_url(kombu_url("rediss://h?ssl_cert_reqs=none"))["ssl"]["ssl_cert_reqs"] is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://user:p%40ss@h:6380/2", {"host": "h", "port": 6380, "db": 2, "username": "user", "password": "p@ss"}),
        ("rediss://:p%40ss@h:6380/2", {"host": "h", "db": 2, "password": "p@ss", "ssl_cert_reqs": ssl.CERT_REQUIRED}),
        ("unix://:p%40ss@/run/v.sock?db=3", {"path": "/run/v.sock", "db": 3, "password": "p@ss"}),
    ],
)
def test_celerys_result_backend_reads_the_spelling_for_kombu(url: str, expected: dict[str, object]) -> None:
    with celery.Celery(backend=kombu_url(url), set_as_current=False) as app:
        read = app.backend.connparams
    assert {name: read[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "redis://host:port/db"),
        (" ", "or leave DISPATCHER_URL unset for an embedded server"),
        ("127.0.0.1:6379", "redis://host:port/db"),
        (f"redis://:{SECRET}\udce9@host/0", "it is not UTF-8"),
        (f"http://:{SECRET}@host", "redis://host:port/db"),
        (f"redis://:{SECRET}/x@host:6379/0", "percent-encoded"),
        (f"redis://:{SECRET}#x@host:6379/0", "percent-encoded"),
        (f"redis://:{SECRET}@host:99999/0", "cannot be read"),
        (f"redis://:{SECRET}@host/first", "the database must be a number"),
        (f"redis://:{SECRET}@host/0?ssl_cert_reqs=none", "options nobody reads"),
        (f"redis://:{SECRET}@host/0?timeout={SECRET}", "options nobody reads"),
        (f"redis://:{SECRET}@host/0?socket_timeout=0", "above 0"),
        (f"redis://:{SECRET}@host/0?socket_timeout=nan", "above 0"),
        (f"rediss://:{SECRET}@host/0?ssl_cert_reqs=maybe", "ssl_cert_reqs must be"),
        (f"redis+socket://:{SECRET}@run/valkey.sock", "three slashes"),
        (f"unix://:{SECRET}@", "three slashes"),
    ],
)
def test_a_wrong_url_is_a_settings_error_that_says_why_and_holds_no_secret(url: str, hint: str) -> None:
    for make in (connect, connect_async, kombu_url):
        with pytest.raises(SettingsError) as caught:
            make(url)
        assert hint in str(caught.value)
        assert SECRET not in str(caught.value)
        assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_role_that_the_server_would_not_take_as_a_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="role"):
        connect("redis://h", role="two words")


@pytest.mark.parametrize("make", [connect, connect_async])
def test_a_client_has_timeouts_unless_it_blocks_and_never_retries_by_itself(make) -> None:
    plain = make("redis://h?socket_timeout=3", role="ledger").connection_pool.connection_kwargs
    blocking = make("redis://h?socket_timeout=3", blocking=True).connection_pool.connection_kwargs
    assert (plain["socket_connect_timeout"], plain["socket_timeout"]) == (2.0, 3.0)
    assert (blocking["socket_connect_timeout"], blocking["socket_timeout"]) == (2.0, None)
    assert plain["client_name"] == "dispatcher-ledger"
    assert plain["retry"].get_retries() == 0


@pytest.mark.parametrize("make", [connect, connect_async])
@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h", "Connection"),
        ("rediss://h?ssl_check_hostname=false&ssl_ca_certs=/ca.pem", "SSLConnection"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "SSLConnection"),
        ("redis+socket:///run/valkey.sock", "UnixDomainSocketConnection"),
    ],
)
def test_redis_py_takes_the_options_made_of_each_kind_of_url(make, url: str, kind: str) -> None:
    pool = make(url).connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)  # unknown options would be a TypeError here
    assert kind in {base.__name__ for base in type(connection).__mro__}


REFUSALS = [
    (redis_errors.AuthenticationError("invalid username-password pair or user is disabled."), ServerAuthError),
    (redis_errors.AuthenticationError("Authentication required."), ServerAuthError),
    (redis_errors.NoPermissionError("User default has no permissions to run the 'evalsha' command"), ServerAuthError),
    (redis_errors.ResponseError("DENIED Redis is running in protected mode because protected"), ServerAuthError),
    (redis_errors.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), ServerFullError),
    # As Redis 6.2 says it from inside a script:
    (
        redis_errors.ResponseError("Error running script (call to f_1): @user_script:1: -OOM command not allowed"),
        ServerFullError,
    ),
    (redis_errors.ReadOnlyError("You can't write against a read only replica."), ServerUnusableError),
    (redis_errors.ResponseError("Error running script: -READONLY You can't write"), ServerUnusableError),
    (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), ServerUnusableError),
    (redis_errors.ResponseError("MISCONF Errors writing to the AOF file: No space left"), ServerUnusableError),
    (redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write."), ServerUnusableError),
    (redis_errors.ResponseError("BUSY Redis is busy running a script."), ServerUnusableError),
    (redis_errors.ConnectionError("max number of clients reached"), ServerUnusableError),
    (redis_errors.MovedError("1234 10.0.0.1:6379"), ServerUnusableError),
    (redis_errors.ResponseError("unknown command 'GETDEL', with args beginning with: 'k' "), ServerUnusableError),
]
BREAKS = [
    redis_errors.ConnectionError("Connection closed by server."),
    redis_errors.TimeoutError("Timeout reading from socket"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
    kombu.exceptions.OperationalError("broken"),
]
NEVER_SENT = [
    redis_errors.ConnectionError("Error 111 connecting to 127.0.0.1:1. Connection refused."),
    redis_errors.ConnectionError("Error while connecting to redis+socket:///x"),
    redis_errors.TimeoutError("Timeout connecting to server"),
    redis_errors.ConnectionError("No connection available."),
    ConnectionRefusedError(111, "Connection refused"),
]


@pytest.mark.parametrize(("error", "kind"), REFUSALS, ids=lambda value: str(value)[:40])
def test_a_refusal_by_the_server_becomes_the_error_of_its_kind(error: Exception, kind: type[ServerError]) -> None:
    ours = translate(error, f"redis://:{SECRET}@h", accepted=Acceptance.YES)
    assert type(ours) is kind
    assert ours.accepted is Acceptance.YES
    assert str(ours).startswith("redis://h:6379/0: ")
    assert refused(error)


@pytest.mark.parametrize("error", BREAKS + NEVER_SENT, ids=lambda value: str(value)[:40])
def test_no_answer_becomes_unreachable(error: Exception) -> None:
    assert type(translate(error, ADDRESS, accepted=Acceptance.NO)) is ServerUnreachableError
    assert refused(error) is (error in NEVER_SENT)


@pytest.mark.parametrize(("url", "asked"), [("rediss://h:1/0", True), ("redis://h:1/0", False)])
def test_whether_a_silent_server_speaks_tls_is_asked_where_we_do(url: str, asked: bool) -> None:
    ours = translate(redis_errors.TimeoutError("Timeout connecting to server"), url, accepted=Acceptance.NO)
    assert ("does it speak TLS (else write redis://)" in str(ours)) is asked


def test_what_kombu_wraps_is_looked_at() -> None:
    wrapped = kombu.exceptions.OperationalError("command not allowed")
    wrapped.__cause__ = redis_errors.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    assert type(translate(wrapped, ADDRESS, accepted=Acceptance.NO)) is ServerFullError
    assert refused(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis_errors.ResponseError("value is not an integer or out of range"),
        redis_errors.WatchError("watched variable changed"),
        ValueError("OOM"),
        SettingsError("READONLY"),
    ],
)
def test_a_mistake_of_ours_is_not_taken_for_the_servers(error: Exception) -> None:
    assert translate(error, ADDRESS, accepted=Acceptance.NO) is None
    with pytest.raises(type(error)) as caught, server_errors(ADDRESS):
        raise error
    assert caught.value is error


def test_an_unknown_commands_arguments_are_not_repeated() -> None:
    error = redis_errors.ResponseError(f"unknown command 'X', with args beginning with: '{SECRET}' 'OOM'")
    ours = translate(error, ADDRESS, accepted=Acceptance.NO)
    assert type(ours) is ServerUnusableError
    assert SECRET not in str(ours)


@pytest.mark.parametrize(
    ("error", "told", "expected"),
    [
        (redis_errors.ConnectionError("Connection closed by server."), Acceptance.UNKNOWN, Acceptance.UNKNOWN),
        (redis_errors.ConnectionError("Connection closed by server."), Acceptance.YES, Acceptance.YES),
        (redis_errors.OutOfMemoryError("command not allowed"), Acceptance.UNKNOWN, Acceptance.NO),
        (redis_errors.OutOfMemoryError("command not allowed"), Acceptance.YES, Acceptance.YES),
        (ConnectionRefusedError(111, "Connection refused"), Acceptance.UNKNOWN, Acceptance.NO),
    ],
)
def test_a_proven_refusal_settles_whether_the_call_was_accepted(error, told, expected) -> None:
    with pytest.raises(ServerError) as caught, server_errors(ADDRESS, accepted=told):
        raise error
    assert caught.value.accepted is expected
    assert caught.value.__cause__ is error


def test_clients_are_made_without_asking_the_server() -> None:
    assert isinstance(connect("redis://host.invalid"), redis.Redis)


@pytest.mark.parametrize("make", [connect, connect_async])
def test_a_new_connection_tells_its_role_and_nothing_of_the_library(make) -> None:
    connection = make("redis://localhost:1/0", role="test").connection_pool.make_connection()
    assert (connection.client_name, connection.driver_info) == ("dispatcher-test", None)

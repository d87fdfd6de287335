"""What can be registered, how, and what is said about what cannot."""

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Any, NoReturn

import pytest
from pydantic import BaseModel, Field, SecretStr

from dispatcher.errors import RegistrationError
from dispatcher.model.limits import Limits
from dispatcher.model.retry import RetryPolicy
from dispatcher.registry.function import AsyncFunction, Function, SyncFunction
from dispatcher.registry.options import FunctionOptions
from dispatcher.registry.registry import Registry


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_a_function_is_registered_under_its_own_name_with_defaults_for_everything(registry):
    @registry.function
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    assert isinstance(add, SyncFunction)
    assert (add.name, add.version, add.description, add.aliases) == ("add", "1", "Add two numbers.", ())
    assert add.options == FunctionOptions()
    assert not add.is_async
    assert registry.get("add") is add
    assert registry.names == ("add",)
    assert "add" in registry
    assert list(registry) == [add]
    assert len(registry) == 1


async def test_calling_a_registered_function_calls_the_function_itself(registry):
    @registry.function
    def add(a: int, b: int = 2) -> int:
        return a + b

    @registry.function()
    async def later(a: int) -> int:
        return a

    assert add(1) == 3
    assert add("x", "y") == "xy"
    assert isinstance(later, AsyncFunction)
    assert later.is_async
    assert await later(5) == 5
    assert add.callable(1, 1) == 2


def test_it_keeps_the_name_and_the_docstring_of_the_function(registry):
    @registry.function(name="text.count")
    def count(text: str) -> int:
        """Count."""
        return len(text)

    assert count.__name__ == "count"
    assert count.__doc__ == "Count."
    assert count.__module__ == __name__
    assert count.tool_name == "text-count"


def test_every_option_can_be_given_and_iterables_are_frozen(registry):
    retry = RetryPolicy(max_attempts=3)

    @registry.function(
        name="mail.send",
        version="2.1",
        description="Send it.",
        aliases=["send_mail", "mail.post"],
        queue="mail",
        priority="high",
        retry=retry,
        timeout=timedelta(seconds=3),
        deadline=timedelta(minutes=3),
        delivery="at_most_once",
        cache=timedelta(hours=1),
        cache_failures=timedelta(minutes=1),
        sensitive={"password"},
        sensitive_result=True,
        examples=(text for text in ["send a mail", "发邮件"]),
        tags=["mail"],
    )
    def send(to: str, password: str) -> None:
        """Never shown."""

    assert (send.name, send.version, send.description) == ("mail.send", "2.1", "Send it.")
    assert send.options == FunctionOptions(
        queue="mail",
        priority="high",
        retry=retry,
        timeout=timedelta(seconds=3),
        deadline=timedelta(minutes=3),
        delivery="at_most_once",
        cache=timedelta(hours=1),
        cache_failures=timedelta(minutes=1),
        sensitive=frozenset({"password"}),
        sensitive_result=True,
        examples=("send a mail", "发邮件"),
        tags=frozenset({"mail"}),
    )
    assert send.options.queue_name == "mail.high"
    assert registry.get("send_mail") is registry.get("mail.post") is send
    assert registry.names == ("mail.send",)


def test_a_wrapped_function_has_the_signature_of_what_it_wraps(registry):
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @registry.function
    @logged
    def add(a: int, b: int) -> int:
        return a + b

    assert list(add.parameters_schema["properties"]) == ["a", "b"]
    assert add(1, 2) == 3


def test_a_function_that_never_returns_is_one_that_returns_nothing(registry):
    @registry.function
    def stop() -> NoReturn:
        raise SystemExit

    assert stop.result_schema == {"type": "null"}


def bad_functions() -> Iterator[tuple[Callable[..., Any], dict[str, Any], list[str]]]:  # noqa: C901, PLR0915 - a table
    class Opaque:
        pass

    def untyped(text, count: int = 1) -> int: ...
    def stars(*values: int) -> int: ...
    def double_stars(**values: int) -> int: ...
    def opaque(thing: Opaque) -> int: ...
    def gives_opaque(thing: int) -> Opaque: ...
    def takes_callable(key: Callable[[int], int]) -> int: ...
    def takes_iterable(values: Iterable[int]) -> int: ...
    def gives_iterator(values: int) -> Iterator[int]: ...
    def gives_async_iterator(values: int) -> AsyncIterator[int]: ...
    def secret(password: SecretStr) -> int: ...
    def gives_secret(password: str) -> SecretStr: ...
    def field_default(a: int = Field(3, gt=1)) -> int: ...
    def lost_name(a: "NotThere") -> int: ...  # noqa: F821
    def method(self, a: int) -> int: ...
    def generator(a: int):
        yield a

    async def async_generator(a: int):
        yield a

    def fine(a: int, b: str = "") -> int: ...
    def _private(a: int) -> int: ...
    def größe(a: int) -> int: ...  # noqa: PLC2401

    class Klass:
        def __init__(self, a: int) -> None: ...

    yield untyped, {}, ["untyped", "'text'", "type hint"]
    yield stars, {}, ["stars", "*values"]
    yield double_stars, {}, ["double_stars", "**values"]
    yield opaque, {}, ["opaque", "parameter 'thing'", "Opaque"]
    yield gives_opaque, {}, ["gives_opaque", "return type", "Opaque"]
    yield takes_callable, {}, ["takes_callable", "parameter 'key'"]
    yield takes_iterable, {}, ["takes_iterable", "list"]
    yield gives_iterator, {}, ["gives_iterator", "list"]
    yield gives_async_iterator, {}, ["gives_async_iterator", "list"]
    yield secret, {}, ["secret", "sensitive"]
    yield gives_secret, {}, ["gives_secret", "sensitive_result"]
    yield field_default, {}, ["field_default", "'a'", "Annotated"]
    yield lost_name, {}, ["lost_name", "'NotThere'"]
    yield method, {}, ["method", "'self'"]
    yield generator, {}, ["generator", "list"]
    yield async_generator, {}, ["async_generator", "list"]
    yield _private, {}, ["_private", "name="]
    yield größe, {}, ["ASCII", "name="]
    yield Klass, {}, ["Klass", "plain def"]
    yield functools.partial(fine, 1), {}, ["partial", "plain def"]
    yield lambda: 1, {}, ["lambda", "name="]
    yield fine, {"name": "a..b"}, ["fine", "'a..b'"]
    yield fine, {"name": "a-b"}, ["'a-b'"]
    yield fine, {"name": ""}, ["''"]
    yield fine, {"name": "a._b"}, ["'a._b'"]
    yield fine, {"name": "a\n"}, [r"'a\n'"]
    yield fine, {"name": "x" * 65}, ["65", "64"]
    yield fine, {"name": "x" * 10_000_000}, ["10000000", "64"]
    yield fine, {"name": "celery.group"}, ["Celery"]
    yield fine, {"name": 5}, ["int"]
    yield fine, {"aliases": ["ok", "not ok"]}, ["alias", "'not ok'"]
    yield fine, {"aliases": ["fine"]}, ["twice", "fine"]
    yield fine, {"aliases": "other"}, ["aliases", "list"]
    yield fine, {"version": 1}, ["version", "text", "int"]
    yield fine, {"version": "a\nb"}, ["version"]
    yield fine, {"description": None}, ["description", "text"]
    yield fine, {"sensitive": ["c"]}, ["'c'", "a, b"]
    yield fine, {"sensitive": "a"}, ["sensitive", "list"]
    yield fine, {"tags": [1]}, ["tags", "int"]
    yield fine, {"examples": ["ok", "  "]}, ["example", "empty"]
    yield fine, {"queue": "Not OK"}, ["queue", "'Not OK'"]
    yield fine, {"queue": ""}, ["queue"]
    yield fine, {"queue": "mail.high"}, ["queue", "priority"]
    yield fine, {"priority": "urgent"}, ["priority", "'bulk'", "'urgent'"]
    yield fine, {"delivery": "exactly_once"}, ["delivery", "'at_most_once'"]
    yield fine, {"timeout": 5}, ["timeout", "timedelta"]
    yield fine, {"timeout": timedelta(0)}, ["timeout", "zero"]
    yield fine, {"deadline": timedelta(-1)}, ["deadline", "zero"]
    yield fine, {"cache": timedelta(0)}, ["cache", "zero"]
    yield fine, {"cache": timedelta(1), "cache_failures": timedelta(0)}, ["cache_failures", "zero"]
    yield fine, {"cache_failures": timedelta(1)}, ["cache_failures", "cache=…"]
    yield fine, {"retry": 3}, ["retry", "RetryPolicy"]
    yield fine, {"sensitive_result": "yes"}, ["sensitive_result"]
    yield fine, {"timout": timedelta(1)}, ["'timout'", "'timeout'"]


@pytest.mark.parametrize(
    ("function", "options", "said"), list(bad_functions()), ids=lambda value: getattr(value, "__name__", None)
)
def test_what_cannot_be_registered_is_refused_with_the_reason(registry, function, options, said):
    with pytest.raises(RegistrationError) as caught:
        registry.function(**options)(function)
    message = str(caught.value)
    for part in said:
        assert part in message
    assert message.startswith("cannot register ")
    assert len(message) < 600
    assert len(registry) == 0


def test_a_name_or_alias_is_taken_once(registry):
    @registry.function(aliases=["plus"])
    def add(a: int) -> int:
        return a

    for options in [{"name": "add"}, {"name": "plus"}, {"aliases": ["add"]}, {"aliases": ["plus"]}]:

        def other(a: int) -> int:
            return a

        with pytest.raises(RegistrationError, match=r"taken by .*add"):
            registry.function(**options)(other)
    with pytest.raises(RegistrationError, match="include"):
        registry.function(add)
    assert registry.names == ("add",)


def test_a_registry_includes_another_whole_or_not_at_all(registry):
    other = Registry()

    @other.function(aliases=["plus"])
    def add(a: int) -> int:
        return a

    @other.function
    def double(a: int) -> int:
        return 2 * a

    registry.include(other)
    assert registry.names == ("add", "double")
    assert registry.get("plus") is add

    third = Registry()

    @third.function
    def halve(a: int) -> int:
        return a // 2

    @third.function(name="plus")
    def plus(a: int) -> int:
        return a

    with pytest.raises(RegistrationError, match="'plus' is taken"):
        registry.include(third)
    assert "halve" not in registry


def test_limits_belong_to_the_registry(registry):
    small = Registry(limits=Limits(arguments_bytes=20))

    @small.function
    def echo(text: str) -> str:
        return text

    assert echo.call("short").arguments == '{"text":"short"}'
    with pytest.raises(Exception, match="20 bytes"):
        echo.call("x" * 30)


def test_the_fingerprint_changes_with_names_versions_and_schemas_and_with_nothing_else():
    def build(
        *, version: str = "1", hint: type = int, result: type = int, extra: bool = False, turned: bool = False
    ) -> str:
        registry = Registry()

        def one(a) -> int:
            return 1

        def two(a: int) -> int:
            return 2

        one.__annotations__ |= {"a": hint, "return": result}
        for function in (two, one) if turned else (one, two):
            registry.function(version=version)(function)
        if extra:
            registry.function(name="three")(two)
        return registry.fingerprint

    assert build() == build() == build(turned=True)
    assert len({build(), build(version="2"), build(hint=str), build(result=str), build(extra=True)}) == 5


def test_the_fingerprint_follows_a_later_registration(registry):
    before = registry.fingerprint

    @registry.function
    def one() -> None: ...

    assert registry.fingerprint != before


def test_a_model_defined_beside_the_function_can_be_named_in_text(registry):
    class Local(BaseModel):
        x: Annotated[int, Field(ge=0)]

    @registry.function
    def take(value: "Local", values: "list[Local] | None" = None) -> "Local":
        return value

    assert take.load_arguments('{"value":{"x":1}}')[1] == {"value": Local(x=1)}
    assert isinstance(take, Function)

import asyncio

import pytest

import tasks
from tasks.dialogue import greet, list_functions
from tasks.system import check_service


class Connection:
    closed = False

    def close(self) -> None:
        self.closed = True

    async def wait_closed(self) -> None:
        assert self.closed


async def test_a_service_that_answers_is_reported_and_left(monkeypatch):
    connection, asked = Connection(), []

    async def connect(host: str, port: int):
        asked.append((host, port))
        return None, connection

    monkeypatch.setattr(asyncio, "open_connection", connect)
    service = await check_service(8080)
    assert service.port == 8080
    assert service.connected_in_ms >= 0
    assert asked == [("127.0.0.1", 8080)]
    assert connection.closed


async def test_a_service_that_is_down_is_an_error_worth_another_try(monkeypatch):
    async def refuse(host: str, port: int):
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    with pytest.raises(check_service.options.retry.on):
        await check_service(8080)
    assert check_service.options.retry.max_attempts == 3


async def test_ports_have_bounds_and_a_wrong_one_is_not_tried_again():
    for port in (0, 65_536):
        with pytest.raises(ValueError, match="1 to 65535"):
            await check_service(port)
    assert not issubclass(ValueError, check_service.options.retry.on)


def test_greetings():
    assert greet() == "Hello!"
    assert greet(" Ann ") == "Hello, Ann!"
    assert greet("小李", "zh") == "你好，小李！"
    assert greet(language="zh") == "你好！"


def test_help_lists_every_function_with_what_it_is_for():
    listed = list_functions()
    assert set(listed) == {function.name for function in tasks.registry}
    assert listed["text.slugify"].startswith("Turn a title into a slug")
    assert all(listed.values())

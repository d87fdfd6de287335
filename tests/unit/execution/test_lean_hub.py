"""Celery's event loop does nothing in vain, and still hears whatever it should."""

import os
import socket
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from kombu.asynchronous import Hub

from dispatcher.execution.lean_hub import make_lean


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    made.poller = Mock(wraps=made.poller)
    make_lean(made)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_what_is_read_already_is_not_registered_again(hub: Hub, pair: tuple[socket.socket, socket.socket]) -> None:
    heard: list[str] = []
    for _ in range(3):
        hub.add_reader(pair[0].fileno(), heard.append, "something")
    assert hub.poller.register.call_count == 1
    pair[1].send(b"x")
    hub.run_once()
    assert heard == ["something"]


def test_another_callback_takes_the_place_of_the_first(hub: Hub, pair: tuple[socket.socket, socket.socket]) -> None:
    heard: list[str] = []
    hub.add_reader(pair[0].fileno(), heard.append, "first")
    hub.add_reader(pair[0].fileno(), heard.append, "second")
    pair[1].send(b"x")
    hub.run_once()
    assert heard == ["second"]


def test_what_was_removed_is_registered_anew(hub: Hub, pair: tuple[socket.socket, socket.socket]) -> None:
    heard: list[str] = []
    hub.add_reader(pair[0].fileno(), heard.append, "first")
    hub.remove_reader(pair[0].fileno())
    hub.add_reader(pair[0].fileno(), heard.append, "first")
    pair[1].send(b"x")
    hub.run_once()
    assert heard == ["first"]


def test_only_a_writer_is_taken_out(hub: Hub, pair: tuple[socket.socket, socket.socket]) -> None:
    fd, heard = pair[0].fileno(), list[str]()
    hub.remove_writer(fd)
    assert hub.poller.unregister.call_count == 0
    hub.add_writer(fd, heard.append, "writable")
    hub.remove_writer(fd)
    assert hub.poller.unregister.call_count == 1
    hub.add_reader(fd, heard.append, "readable")
    hub.remove_writer(fd)
    os.write(pair[1].fileno(), b"x")
    hub.run_once()
    assert heard == ["readable"]


def test_it_is_made_lean_once(hub: Hub) -> None:
    add_reader = hub.add_reader
    make_lean(hub)
    assert hub.add_reader is add_reader

"""When functions that look alike are reported, and that it is once."""

import gc
import logging
import weakref

import pytest

from dispatcher.registry.registry import Registry
from dispatcher.selection.keyword import KeywordSelector
from dispatcher.selection.lookalike_log import MAX_LINES, log_lookalikes


def add(registry: Registry, name: str, description: str = "Look up a user in the customer database.") -> None:
    def function() -> None: ...

    function.__doc__ = description
    registry.function(name=name)(function)


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    add(registry, "find_user")
    add(registry, "get_user")
    add(registry, "mail.send", "Email an invoice.")
    return registry


class Records(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)


@pytest.fixture
def records():
    handler = Records()
    logger = logging.getLogger("dispatcher.selection.lookalike_log")
    logger.addHandler(handler)
    yield handler.all
    logger.removeHandler(handler)


def test_a_selector_reports_the_functions_that_look_alike_when_it_first_reads_them(registry, records):
    KeywordSelector(registry)
    (record,) = records
    assert record.levelno == logging.WARNING
    assert record.name == "dispatcher.selection.lookalike_log"
    assert record.getMessage().startswith("functions_look_alike: “find_user” and “get_user”: ")
    assert record.getMessage().endswith("only “find_user” speaks of find")
    assert (record.first, record.second, record.likeness) == ("find_user", "get_user", 1.0)
    assert record.apart == ("find",)  # to get is said of anything


def test_no_pair_is_reported_twice_by_any_selector(registry, records):
    selector = KeywordSelector(registry)
    KeywordSelector(registry)
    selector.select("find a user")
    other = Registry()
    other.include(registry)
    KeywordSelector(other)
    assert len(records) == 1


def test_what_is_registered_later_is_reported_with_the_next_selection(registry, records):
    selector = KeywordSelector(registry)
    add(registry, "mail.post", "Email an invoice.")
    assert len(records) == 1
    selector.select("find a user")
    assert [(r.first, r.second) for r in records] == [("find_user", "get_user"), ("mail.post", "mail.send")]


def test_a_registry_that_has_not_changed_is_not_looked_at_again(registry, monkeypatch):
    log_lookalikes(registry)
    monkeypatch.setattr(
        "dispatcher.selection.lookalike_log.find_lookalikes", lambda *_, **__: pytest.fail("looked again")
    )
    log_lookalikes(registry)


def test_a_large_registry_is_passed_over_unless_asked(registry, records):
    log_lookalikes(registry, most_functions=2)
    assert records == []
    log_lookalikes(registry, most_functions=None)
    assert len(records) == 1


def test_only_so_many_lines_are_written(records):
    registry = Registry()
    for number in range(MAX_LINES + 6):
        add(registry, f"find_user_{number}")
    log_lookalikes(registry)
    assert len(records) == MAX_LINES + 1
    assert records[-1].getMessage().startswith("functions_look_alike_more: 5 more pairs")
    assert records[-1].count == 5


def test_what_was_reported_keeps_no_registry_and_no_function(registry):
    log_lookalikes(registry)
    gone = [weakref.ref(registry.get("find_user")), weakref.ref(registry.get("get_user"))]
    for name in registry.names:
        registry.remove(name)
    gc.collect()
    assert [one() for one in gone] == [None, None]

"""A selection goes to another producer as JSON, and counts there only where its functions are known."""

import json
from typing import cast

import pytest

from dispatcher import Cascade, ConversationState, Decision, Registry, Selection
from dispatcher.client.shared_selections import SharedSelections, key_of, read_selection, write_selection
from dispatcher.selection.selection import Candidate
from dispatcher.transport.selection_cache import SharedSelectionCache
from tests.unit.client.talk import make_registry


class MemoryCache:
    def __init__(self) -> None:
        self.kept: dict[bytes, str] = {}

    async def find(self, key: bytes) -> str | None:
        return self.kept.get(key)

    async def keep(self, key: bytes, value: str) -> None:
        self.kept[key] = value


def key(text: str = "count", state: ConversationState | None = None, only=None, **changes) -> bytes:
    return key_of(text, state, only, **{"selector": b"s", "learnt": "v 1", **changes})


@pytest.mark.parametrize("text", ["count the words: a b", "text.count", "xyzzy", "", "count words or tell the weather"])
def test_it_comes_back_as_it_went(text) -> None:
    registry = make_registry()
    made = Cascade(registry).select(text)
    read = read_selection(write_selection(made), text, registry)
    assert read == made
    assert read.function == made.function
    assert [candidate.why for candidate in read.candidates[:2]] == [candidate.why for candidate in made.candidates[:2]]
    assert (read.reason, read.response) == (made.reason, made.response)


def test_the_choices_of_a_question_come_back_too() -> None:
    registry = make_registry()
    names = {"weather": 0.4, "mail.send": 0.3, "text.count": 0.1}
    candidates = tuple(Candidate(function=name, probability=p, explain="w") for name, p in names.items())
    asked = Selection(text="t", candidates=candidates, choices=candidates[:2], decision=Decision.ASK)
    assert [choice.function for choice in read_selection(write_selection(asked), "t", registry).choices] == [
        "weather",
        "mail.send",
    ]


def test_parts_come_back_too() -> None:
    registry = make_registry()
    parts = tuple(
        Selection(
            text=f"part {name}",
            candidates=(Candidate(function=name, probability=0.9, explain="w"),),
            decision=Decision.ACT,
            chosen=registry.get(name),
        )
        for name in ("weather", "mail.send")
    )
    several = Selection(text="t", candidates=parts[0].candidates, decision=Decision.SEVERAL, parts=parts)
    read = read_selection(write_selection(several), "t", registry)
    assert read == several
    assert [part.function for part in read.parts] == ["weather", "mail.send"]


def test_functions_that_are_not_here_make_it_unknown() -> None:
    registry = make_registry()
    value = write_selection(Cascade(registry).select("count the words"))
    registry.remove("text.count")
    assert read_selection(value, "count the words", registry) is None


@pytest.mark.parametrize("change", [
    {"decision": "obey"}, {"function": None}, {"function": 7}, {"function": "rm -rf"}, {"candidates": [["weather"]]},
    {"candidates": 3}, {"parts": [{}]}, {"parts": None}, {"in_scope": "much"}, {"decision": "several"},
])  # fmt: skip
def test_what_is_no_selection_is_unknown(change) -> None:
    registry = make_registry()
    data = json.loads(write_selection(Cascade(registry).select("text.count")))
    assert read_selection(json.dumps({**data, **change}), "t", registry) is None
    assert read_selection("[" * 100_000, "t", registry) is None
    assert read_selection("null", "t", registry) is None


def test_keys_tell_apart_what_is_selected_differently() -> None:
    state = ConversationState(previous_function="weather", slots={"a": "1", "b": "2"})
    keys = [
        key(),
        key("Count"),
        key(state=state),
        key(state=ConversationState(previous_function="weather")),
        key(state=ConversationState(topic="weather")),
        key(state=ConversationState(language="zh")),
        key(state=ConversationState(user="ann")),
        key(only=[]),
        key(only=["weather"]),
        key(learnt="v 2"),
        key(selector=b"t"),
    ]
    assert len(set(keys)) == len(keys)


def test_keys_are_equal_for_what_is_selected_alike() -> None:
    assert key(" count\t") == key("count")
    assert key(only=["a", "b"]) == key(only={"b", "a"})
    one, other = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert key(state=ConversationState(slots=one)) == key(state=ConversationState(slots=other))


async def test_hits_and_misses_are_counted() -> None:
    registry, cache = make_registry(), MemoryCache()
    shared = SharedSelections(cast("SharedSelectionCache", cache), registry)
    assert await shared.find(b"k", "weather") is None
    await shared.keep(b"k", write_selection(Cascade(registry).select("weather")))
    found = await shared.find(b"k", "weather")
    assert found is not None
    assert found.function == "weather"
    cache.kept[b"k"] = "garbage"
    assert await shared.find(b"k", "weather") is None
    assert (shared.hits, shared.misses) == (1, 2)
    assert await SharedSelections(cast("SharedSelectionCache", cache), Registry()).find(b"k", "weather") is None

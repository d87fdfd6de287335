"""Functions that go, and the number that tells that something has changed."""

import itertools
import threading

import pytest

from dispatcher.errors import RegistrationError, UnknownFunctionError
from dispatcher.registry.registry import Registry


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @registry.function(name="text.count_words", aliases=["words", "wc"])
    def count_words(text: str) -> int: ...

    @registry.function
    def send_invoice(customer_id: int) -> None: ...

    return registry


@pytest.mark.parametrize("name", ["text.count_words", "words", "wc"])
def test_a_function_is_removed_by_any_of_its_names_and_all_of_them_are_free_again(registry, name):
    function = registry.get("text.count_words")
    assert registry.remove(name) is function
    assert registry.names == ("send_invoice",)
    assert list(registry) == [registry.get("send_invoice")]
    for gone in ("text.count_words", "words", "wc"):
        assert gone not in registry
        with pytest.raises(UnknownFunctionError):
            registry.get(gone)

    @registry.function(name="words", aliases=["text.count_words"])
    def another(text: str) -> int: ...

    assert registry.get("text.count_words") is another


def test_what_is_not_there_cannot_be_removed_and_nothing_changes(registry):
    before = registry.revision
    with pytest.raises(UnknownFunctionError) as caught:
        registry.remove("text.count_wrods")
    assert caught.value.near[0] == "text.count_words"
    assert registry.revision == before
    assert len(registry) == 2


def test_a_removed_function_stays_in_the_registries_that_took_it_in(registry):
    other = Registry()
    other.include(registry)
    registry.remove("send_invoice")
    assert "send_invoice" in other


def test_a_removed_function_can_be_taken_in_again(registry):
    other = Registry()
    other.include(registry)
    registry.remove("send_invoice")
    registry.remove("words")
    registry.include(other)
    assert registry.fingerprint == other.fingerprint


def test_the_revision_grows_with_every_registration_removal_and_inclusion():
    registry, other = Registry(), Registry()
    seen = [registry.revision]

    @registry.function
    def first() -> None: ...

    seen.append(registry.revision)
    registry.include(other)
    seen.append(registry.revision)
    registry.remove("first")
    seen.append(registry.revision)
    assert all(later > earlier for earlier, later in itertools.pairwise(seen))
    assert other.revision == 0


def test_a_refused_registration_changes_no_revision(registry):
    before = registry.revision
    with pytest.raises(RegistrationError, match="taken"):

        @registry.function(name="wc")
        def another() -> None: ...

    with pytest.raises(RegistrationError, match="taken"):
        registry.include(registry)
    assert registry.revision == before


def test_the_fingerprint_follows_what_is_removed(registry):
    with_both = registry.fingerprint
    removed = registry.remove("send_invoice")
    assert registry.fingerprint != with_both
    other = Registry()

    @other.function(name="text.count_words", aliases=["words", "wc"])
    def count_words(text: str) -> int: ...

    assert registry.fingerprint == other.fingerprint
    assert removed.name == "send_invoice"


def test_threads_that_register_at_once_lose_no_change():
    registry = Registry()
    sources = []
    for number in range(8):
        source = Registry()

        @source.function(name=f"function_{number}")
        def function() -> None: ...

        sources.append(source)
    barrier = threading.Barrier(len(sources))

    def take(source: Registry) -> None:
        barrier.wait()
        for _ in range(200):
            registry.include(source)
            registry.remove(source.names[0])
        registry.include(source)

    threads = [threading.Thread(target=take, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.revision == 8 * 401
    assert len(registry) == 8

"""The tiers over sentence vectors, with an encoder that costs nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.selection import (
    latent,
)
from dispatcher.selection import (
    meaning as meaning_module,
)
from dispatcher.selection import (
    neighbours as neighbours_module,
)
from dispatcher.selection import (
    network as network_module,
)
from dispatcher.selection.card import Card
from dispatcher.selection.distance import Distance
from dispatcher.selection.embedding import GLOSSED, SCALE, Embedding, render
from dispatcher.selection.encoders.combined import CombinedEncoder
from dispatcher.selection.encoders.encoder import unit
from dispatcher.selection.gaussian import fit_gaussian
from dispatcher.selection.latent import Latent, find_basis, project
from dispatcher.selection.loss import Sparse, softmax
from dispatcher.selection.meaning import Meaning, common_of, meaning_of
from dispatcher.selection.neighbours import MAX_OF_FUNCTION, Neighbours
from dispatcher.selection.network import LENGTH, Layered, Network, make_up
from dispatcher.selection.optimisers import Adam, fit
from dispatcher.selection.softmax import Read
from tests.unit.selection.making import HashedEncoder, WordByWord, make_cards, make_meaning, make_two_languages


def directions(seed: int, *shape: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


# --- vectors


@settings(deadline=None)
@given(st.lists(st.text(), max_size=5))
def test_every_vector_has_length_one_or_is_nothing(texts):
    meaning = make_meaning()
    for rows in (meaning.requests(texts), meaning.descriptions(texts)):
        assert rows.shape == (len(texts), meaning.dimension)
        lengths = np.linalg.norm(rows, axis=1)
        assert all(length == 0 or length == pytest.approx(1, abs=1e-4) for length in lengths)


def test_what_all_requests_have_in_common_is_taken_away():
    encoder = HashedEncoder()
    texts = [f"please kindly do {word} for me" for word in ("gardening", "cooking", "painting", "sailing")]
    plain = Meaning(encoder, np.zeros(encoder.dimension)).requests(texts)
    without = Meaning(encoder, common_of(encoder, texts)).requests(texts)
    assert (without @ without.T)[0, 1] < (plain @ plain.T)[0, 1] - 0.3


def test_what_an_encoder_could_not_read_stays_nothing():
    meaning = Meaning(HashedEncoder(), np.ones(48, np.float32))
    assert not meaning.request("…").any()
    assert not meaning.requests(["", "words"])[0].any()


def test_one_text_and_many_are_read_alike():
    meaning = Meaning(HashedEncoder(), directions(0, 48))
    texts = ["count the words", "play a song"]
    assert meaning.requests(texts) == pytest.approx(np.stack([meaning.request(text) for text in texts]), abs=1e-5)


def test_descriptions_and_examples_are_encoded_once_however_often_the_registry_changes():
    meaning = make_meaning()
    Embedding(make_cards(), meaning)
    asked = len(meaning.encoder.asked)
    Embedding([*make_cards(), Card(name="new", description="Something new.")], meaning)
    assert sorted(meaning.encoder.asked[asked:]) == ["Something new.", "new", "new: Something new."]
    assert len(set(meaning.encoder.asked)) == len(meaning.encoder.asked)


def test_remembered_vectors_are_bounded(monkeypatch):
    monkeypatch.setattr(meaning_module, "MAX_REMEMBERED", 3)
    meaning = make_meaning()
    texts = [f"text number {word}" for word in ("one", "two", "three", "four", "five")]
    rows = meaning.requests(texts)
    assert len(meaning._remembered) == 3
    assert meaning.requests(texts) == pytest.approx(rows)


def test_an_encoder_of_ones_own_has_nothing_in_common_taken_away():
    own = meaning_of(HashedEncoder(8))
    assert own.name == "hashed/1"
    assert own.dimension == 8
    assert own.request("word") == pytest.approx(HashedEncoder(8).encode(["word"])[0], abs=1e-5)


def test_a_shipped_common_vector_of_another_size_is_not_used():
    assert meaning_of(HashedEncoder(8, name="wordllama-l2-256/1")).request("word").any()


def test_a_text_in_another_script_is_read_by_the_multilingual_encoders_alone():
    meaning = make_two_languages()
    english, named = meaning.requests(["play harvest moon", "播放 harvest moon"])
    assert english[:48].any()
    assert english[48:].any()
    assert not named[:48].any()
    assert np.linalg.norm(named) == pytest.approx(1, abs=1e-4)
    assert meaning.request("播放 harvest moon") == pytest.approx(named, abs=1e-5)


def test_a_text_as_if_in_another_language_lacks_what_the_english_encoder_says():
    meaning = make_two_languages()
    foreign = meaning.foreign(meaning.requests(["play"]))[0]
    assert not foreign[:48].any()
    assert foreign == pytest.approx(meaning.request("播放"), abs=1e-5)


def test_without_a_multilingual_encoder_no_text_is_foreign():
    assert not make_meaning().crosses_languages
    assert not make_meaning().is_foreign("播放一首歌")
    assert make_two_languages().is_foreign("播放一首歌")


def test_with_a_dictionary_the_english_encoder_reads_a_foreign_text_word_for_word():
    meaning, alone = make_two_languages(glossary=WordByWord()), make_two_languages()
    english, glossed, without_a_word = meaning.requests(["play", "播放", "这些"])
    assert unit(glossed[:48]) == pytest.approx(unit(english[:48]), abs=1e-5)
    assert np.linalg.norm(glossed) == pytest.approx(1, abs=1e-4)
    assert meaning.foreign(glossed) == pytest.approx(alone.request("播放"), abs=1e-5)
    assert meaning.request("播放") == pytest.approx(glossed, abs=1e-5)
    assert without_a_word == pytest.approx(alone.request("这些"), abs=1e-5)
    assert meaning.has_english(np.stack([english, glossed, without_a_word])).tolist() == [True, True, False]
    assert meaning.requests(["play"]) == pytest.approx(alone.requests(["play"]))


@pytest.mark.parametrize(
    ("names", "glossed"),
    [
        (("minilm-l6-int8/1", "use-multilingual-v3/1"), True),
        (("minilm-l6-int8/1",), False),
        (("use-multilingual-v3/1", "e5-small-multilingual-q4/1"), False),
    ],
)
def test_the_dictionary_is_for_an_english_encoder_beside_a_multilingual_one(names, glossed, monkeypatch):
    monkeypatch.setattr(meaning_module, "find_glossary", WordByWord)
    sizes = {"minilm-l6-int8/1": 384, "use-multilingual-v3/1": 512, "e5-small-multilingual-q4/1": 384}
    encoders = [HashedEncoder(sizes[name], name=name) for name in names]
    encoder = CombinedEncoder(encoders) if len(encoders) > 1 else encoders[0]
    assert meaning_of(encoder).has_glossary is glossed


# --- the head


def test_without_an_example_the_function_of_the_nearest_description_is_first():
    embedding = Embedding(make_cards(), make_meaning())
    for position, card in enumerate(make_cards()):
        assert int(embedding.logits(embedding.meaning.request(card.description)).argmax()) == position


def test_a_card_is_rendered_with_everything_that_it_says():
    card = Card(
        name="mail.sendLetter", description="Send it.", parameters=(("toWhom", "the recipient"), ("copies", ""))
    )
    for part in ("mail send Letter", "Send it.", "to Whom", "the recipient", "copies"):
        assert part in render(card)
    assert render(Card(name="a.b")) == "a b"


def test_a_description_speaks_beside_a_name_that_says_other_words():
    takes = (("page", "how many rows to show at once"),)
    plain = Card(name="b.y", description="Count the sheep.")
    cards = [Card(name="north.acme_internal_service_client", description="Brew coffee.", parameters=takes), plain]
    meaning = make_meaning()
    vector = meaning.request("brew coffee")
    whole = float(meaning.descriptions([render(card) for card in cards])[0] @ vector) * SCALE
    assert Embedding(cards, meaning).logits(vector)[0] > whole + 3


def test_a_name_speaks_beside_a_description_that_says_other_words():
    cards = [
        Card(name="coffee", description="Brew a hot drink from the beans that are in the machine."),
        Card(name="b"),
    ]
    meaning = make_meaning()
    vector = meaning.request("coffee")
    described = float(meaning.descriptions([render(card) for card in cards])[0] @ vector) * SCALE
    assert Embedding(cards, meaning).logits(vector)[0] > described + 1


def test_an_example_moves_the_start_towards_itself():
    cards = [Card(name="a", description="Alpha."), Card(name="b", description="Beta.")]
    with_example = [cards[0], replace(cards[1], examples=("bring me a pizza",))]
    before, after = (
        Embedding(of, make_meaning()).logits(make_meaning().request("a pizza")) for of in (cards, with_example)
    )
    assert after[1] - after[0] > before[1] - before[0]


def test_a_step_of_the_head_moves_the_logits_of_that_text():
    embedding = Embedding(make_cards(), make_meaning())
    vector = embedding.meaning.request("some odd request")
    before = embedding.logits(vector)
    embedding.learn(vector, {1: -0.8, 2: 0.5})
    gained = embedding.logits(vector) - before
    assert gained[1] > 0 > gained[2]
    assert not np.delete(gained, [1, 2]).any()
    assert (embedding.start != embedding.head).any()


def test_what_the_head_learnt_is_loaded_by_function():
    embedding = Embedding(make_cards(), make_meaning())
    vector = embedding.meaning.request("some odd request")
    before = embedding.logits(vector)
    embedding.load(np.stack([np.zeros(48), vector]).astype(np.float32), np.array([9, 0.25], np.float32), {1: 3})
    gained = embedding.logits(vector) - before
    assert gained[3] == pytest.approx(1.25, abs=1e-3)
    assert np.delete(gained, 3) == pytest.approx(0, abs=1e-5)


def test_a_request_in_another_script_says_as_much_as_one_in_the_examples_own():
    embedding = Embedding(make_cards(), make_two_languages())
    english, chinese = embedding.meaning.requests(["weather", "天气"])
    said, said_abroad = embedding.logits(english), embedding.logits(chinese, foreign=True)
    assert said_abroad.argmax() == said.argmax() == 4
    assert said_abroad.std() > 0.8 * said.std()


def test_what_is_taught_in_english_is_known_in_other_languages():
    embedding = Embedding(make_cards(), make_two_languages())
    abroad = embedding.meaning.request("播放")
    before = embedding.logits(abroad, foreign=True)
    embedding.learn(embedding.meaning.request("play"), {1: -0.8, 2: 0.5})
    gained = embedding.logits(abroad, foreign=True) - before
    assert gained[1] > 0 > gained[2]


@pytest.mark.parametrize(("glossary", "share"), [(None, 0.0), (WordByWord(), GLOSSED)])
def test_of_a_text_read_word_for_word_both_heads_speak(glossary, share):
    embedding = Embedding(make_cards(), make_two_languages(glossary=glossary))
    weather = embedding.meaning.request("天气")
    before = embedding.logits(weather, foreign=True)
    embedding.load(weather[None], np.array([1.0], np.float32), {0: 3})
    gained = embedding.logits(weather, foreign=True) - before
    assert gained[3] == pytest.approx(share * 2, abs=1e-3)


def test_what_was_learnt_for_other_languages_is_loaded_by_function():
    embedding = Embedding(make_cards(), make_two_languages())
    english, abroad = embedding.meaning.requests(["play", "播放"])
    before = embedding.logits(english), embedding.logits(abroad, foreign=True)
    embedding.load_foreign(abroad[None], np.array([0.25], np.float32), {0: 3})
    assert (embedding.logits(english) == before[0]).all()
    gained = embedding.logits(abroad, foreign=True) - before[1]
    assert gained[3] == pytest.approx(1.25, abs=1e-3)
    assert np.delete(gained, 3) == pytest.approx(0, abs=1e-5)


# --- the head of means


def test_the_nearest_mean_wins_wherever_the_examples_stand():
    around = directions(0, 3, 16) + 5
    vectors = np.repeat(around, 20, axis=0) + 0.1 * directions(1, 60, 16)
    labels = np.repeat(np.arange(3), 20)
    head, bias = fit_gaussian(vectors, labels, np.ones(60, np.float32), around)
    assert ((around @ head.T + bias).argmax(axis=1) == np.arange(3)).all()
    near, halfway = (np.ptp((point @ head.T + bias)[:2]) for point in (around[0], (around[0] + around[1]) / 2))
    assert halfway < 0.2 * near


def test_a_function_without_an_example_stands_where_its_description_does():
    starts = directions(2, 3, 16)
    vectors = np.repeat(starts[:2], 5, axis=0) + 0.1 * directions(3, 10, 16)
    head, bias = fit_gaussian(vectors, np.repeat([0, 1], 5), np.ones(10, np.float32), starts)
    assert int((starts[2] @ head.T + bias).argmax()) == 2


def test_texts_that_are_all_alike_make_a_head_of_means():
    one = directions(4, 1, 8)
    head, bias = fit_gaussian(np.repeat(one, 4, axis=0), np.zeros(4, np.int64), np.ones(4, np.float32), one)
    assert np.isfinite(head).all()
    assert np.isfinite(bias).all()


def test_no_function_has_no_logits():
    assert Embedding([], make_meaning()).logits(directions(0, 48)).shape == (0,)


# --- neighbours


def test_a_text_that_was_nearly_said_before_speaks_for_its_function():
    neighbours, near = Neighbours(3, 8), directions(0, 8)
    neighbours.add(near, 2, "before")
    logits = neighbours.logits(unit(near + 0.05 * directions(1, 8)))
    assert logits[2] > 1
    assert not logits[:2].any()
    assert Neighbours(3, 8).logits(near).tolist() == [0, 0, 0]


def test_a_distant_text_counts_next_to_nothing():
    neighbours = Neighbours(2, 8)
    neighbours.add(np.eye(8, dtype=np.float32)[0], 1, "before")
    assert neighbours.logits(np.eye(8, dtype=np.float32)[1])[1] < 0.01


def test_a_text_that_a_function_was_wrong_for_speaks_against_it():
    neighbours, vector = Neighbours(2, 8), directions(0, 8)
    neighbours.add(vector, 1, "before", right=False)
    assert neighbours.logits(vector)[1] < 0
    assert neighbours.closeness(vector, 1) == (0.0, 0.0)
    assert neighbours.nearest(vector, 1) == ("", 0.0)


def test_closeness_tells_texts_of_functions_from_texts_that_nothing_fits():
    neighbours, axes = Neighbours(3, 4), np.eye(4, dtype=np.float32)
    neighbours.add(axes[0], 1, "of a function")
    neighbours.add(axes[1], 2, "of none")
    assert neighbours.closeness(axes[0], 2) == pytest.approx((1, 0))
    assert neighbours.closeness(axes[1], 2) == pytest.approx((0, 1))
    assert neighbours.closeness(-axes[0], 2) == pytest.approx((0, 0))


def test_one_reading_says_what_each_question_alone_would():
    neighbours, rows = Neighbours(4, 16), directions(0, 20, 16)
    assert [part if number else part.tolist() for number, part in enumerate(neighbours.read(rows[0], 3))] == [
        [0, 0, 0, 0],
        (0.0, 0.0),
    ]
    for number, row in enumerate(rows[:15]):
        neighbours.add(row, number % 4, "", right=number % 5 > 0)
    for row in rows:
        logits, closeness = neighbours.read(row, 3)
        assert logits.tolist() == neighbours.logits(row).tolist()
        assert closeness == neighbours.closeness(row, 3)


def test_the_nearest_text_of_a_function_can_be_shown():
    neighbours, axes = Neighbours(3, 4), np.eye(4, dtype=np.float32)
    for axis, text in zip(axes, ("east", "north", "up"), strict=False):
        neighbours.add(axis, 1, text)
    assert neighbours.nearest(unit(axes[1] + 0.2 * axes[0]), 1)[0] == "north"
    assert neighbours.nearest(axes[1], 0) == ("", 0.0)


def test_a_functions_oldest_text_makes_room(monkeypatch):
    monkeypatch.setattr(neighbours_module, "MAX_OF_FUNCTION", 2)
    neighbours, axes = Neighbours(3, 4), np.eye(4, dtype=np.float32)
    for axis, text in zip(axes, ("one", "two", "three"), strict=False):
        neighbours.add(axis, 1, text)
    assert len(neighbours) == 2
    assert neighbours.nearest(axes[0], 1)[0] != "one"
    assert neighbours.nearest(axes[2], 1) == ("three", 1.0)


def test_texts_are_bounded_in_all_and_tables_grow_up_to_that(monkeypatch):
    monkeypatch.setattr(neighbours_module, "MAX_TEXTS", 150)
    neighbours, rows = Neighbours(300, 16), directions(0, 300, 16)
    for position, row in enumerate(rows):
        neighbours.add(row, position, f"text {position}")
    assert len(neighbours) == 150
    assert neighbours.nearest(rows[149], 149)[0] == "text 149"
    assert int(neighbours.logits(rows[100]).argmax()) == 100


def test_a_text_that_english_encoders_cannot_read_is_as_near_as_what_the_others_say():
    meaning = make_two_languages()
    english, abroad = meaning.requests(["play a song", "播放歌曲"])
    neighbours = Neighbours(2, meaning.dimension, meaning.multilingual)
    neighbours.add(english, 0, "play a song")
    apart = neighbours.read(abroad, 1)[1][0]
    logits, (near, _) = neighbours.read(abroad, 1, shared=True)
    assert near == pytest.approx(float(meaning.foreign(english) @ abroad), abs=1e-4)
    assert near > apart + 0.2
    assert logits[0] > neighbours.logits(abroad)[0] + 1
    assert neighbours.read(english, 1, shared=True)[1][0] == pytest.approx(1, abs=1e-4)
    neighbours.add(abroad, 0, "播放歌曲")
    assert neighbours.read(abroad, 1, shared=True)[1][0] == pytest.approx(1, abs=1e-4)


def test_what_is_said_in_any_language_is_compared_right_whenever_a_text_came(monkeypatch):
    monkeypatch.setattr(neighbours_module, "BLOCK", 2)
    multilingual = np.repeat([0, 1], [8, 8]).astype(np.float32)
    neighbours, rows = Neighbours(3, 16, multilingual), directions(6, 3 * MAX_OF_FUNCTION, 16)
    shared = unit(rows * multilingual)

    def nearest(place: int) -> float:
        return neighbours.read(shared[place], 3, shared=True)[1][0]

    for place in range(7):
        neighbours.add(rows[place], place % 2, "t")
    assert nearest(6) == pytest.approx(1, abs=1e-5)
    for place in range(7, 2 * MAX_OF_FUNCTION + 7):
        neighbours.add(rows[place], place % 2, "t")
    for place in range(7, 2 * MAX_OF_FUNCTION + 7):
        assert nearest(place) == pytest.approx(1, abs=1e-5)


def test_a_text_that_only_english_encoders_can_read_is_near_no_other():
    multilingual = np.repeat([0, 1], [8, 8]).astype(np.float32)
    neighbours = Neighbours(1, 16, multilingual)
    neighbours.add(unit(directions(7, 16) * (1 - multilingual)), 0, "t")
    logits, (near, _) = neighbours.read(unit(directions(8, 16) * multilingual), 1, shared=True)
    assert np.isfinite(logits).all()
    assert near == 0


# --- distance


def test_a_text_among_a_functions_texts_is_nearer_than_one_between_or_beyond():
    rng = np.random.default_rng(0)
    centres = 3 * directions(1, 3, 10)
    labels = rng.integers(0, 3, 120)
    vectors = (centres[labels] + 0.3 * rng.standard_normal((120, 10))).astype(np.float32)
    distance = Distance.fit(vectors, labels, 4)  # the fourth function has no text
    inside = distance.nearest((centres + 0.1 * rng.standard_normal((3, 10))).astype(np.float32))
    outside = distance.nearest(3 * directions(5, 20, 10))
    assert inside.max() < outside.min()
    assert len(distance.means) == 3
    again = Distance.load(distance.dump())
    assert again.nearest(vectors) == pytest.approx(distance.nearest(vectors), rel=0.1, abs=0.5)
    assert Distance.load({}) is None


def test_one_text_a_function_is_enough_for_a_distance():
    assert np.isfinite(Distance.fit(directions(0, 2, 6), np.array([0, 1]), 2).nearest(directions(1, 3, 6))).all()


# --- the network


def clouds(seed: int = 0, classes: int = 4, each: int = 30, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(classes), each)
    centres = directions(99, classes, width)
    spread = 0.15 * np.random.default_rng(seed).standard_normal((len(labels), width))
    return unit(centres[labels] + spread.astype(np.float32)) * np.float32(LENGTH), labels


@pytest.fixture(scope="module")
def trained() -> Network:
    vectors, labels = clouds()
    between = make_up(vectors, labels, seed=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network_module, "HIDDEN", 48)
        objective = Layered(
            vectors=np.concatenate((vectors, between)),
            labels=np.concatenate((labels, np.full(len(between), 4))),
            weights=np.ones(len(vectors) + len(between), np.float32),
            classes=5,
        )
        inner, inner_bias, outer, outer_bias = fit(objective, Adam(batch_size=16, rate=0.003), epochs=40).parameters
    return Network(inner=inner, inner_bias=inner_bias, outer=outer, outer_bias=outer_bias)


def test_a_network_learns_its_functions_and_where_they_end(trained):
    vectors, labels = clouds(seed=1)
    logits = trained.logits(vectors)
    assert (logits[:, :4].argmax(axis=1) == labels).mean() > 0.95
    between = make_up(vectors, labels, seed=1)
    assert softmax(trained.logits(between))[:, -1].mean() > softmax(logits)[:, -1].mean() + 0.2


def test_made_up_points_lie_between_examples_and_are_as_long():
    vectors, labels = clouds()
    between = make_up(vectors, labels, seed=3)
    assert len(between) > 0
    assert np.linalg.norm(between, axis=1) == pytest.approx(LENGTH, rel=1e-3)
    neighbours = vectors @ vectors.T
    np.fill_diagonal(neighbours, 0)
    assert (between @ vectors.T).max(axis=1).mean() < neighbours.max(axis=1).mean()
    assert len(make_up(vectors[:10], np.zeros(10, np.int64), seed=0)) == 0  # between texts of one function lies nothing


def test_a_network_is_arranged_by_function_and_unknown_ones_are_never_likely(trained):
    vectors, _ = clouds(seed=2)
    arranged = trained.arrange({0: 5, 1: 0, 3: 2}, 6).logits(vectors)
    plain = trained.logits(vectors)
    assert arranged.shape == (len(vectors), 7)
    assert arranged[:, [5, 0, 2, 6]] == pytest.approx(plain[:, [0, 1, 3, 4]], abs=1e-4)
    assert (softmax(arranged)[:, [1, 3, 4]] < 1e-3).all()


def test_a_stored_network_says_the_same(trained):
    vectors, _ = clouds(seed=2)
    again = Network.load(trained.dump())
    assert again.logits(vectors) == pytest.approx(trained.logits(vectors), abs=0.1)
    assert Network.load({}) is None


# --- latent dimensions


def as_sparse(rows: np.ndarray) -> Sparse:
    places = [np.flatnonzero(row) for row in rows]
    return Sparse(
        starts=np.r_[0, np.cumsum([len(place) for place in places])],
        columns=np.concatenate(places),
        values=np.concatenate([row[place] for row, place in zip(rows, places, strict=True)]).astype(np.float32),
        width=rows.shape[1],
    )


def test_the_basis_spans_what_a_full_decomposition_finds(monkeypatch):
    monkeypatch.setattr(latent, "DIMENSIONS", 3)
    rng = np.random.default_rng(0)
    rows = (
        rng.standard_normal((40, 3)) * [9, 6, 4] @ rng.standard_normal((3, 20)) + 0.01 * rng.standard_normal((40, 20))
    ).astype(np.float32)
    rows[np.abs(rows) < 0.5] = 0
    basis = find_basis(as_sparse(rows), seed=0)
    assert basis.shape == (20, 3)
    assert basis.T @ basis == pytest.approx(np.eye(3), abs=1e-2)
    _, _, expected = np.linalg.svd(rows)
    assert np.linalg.svd(expected[:3] @ basis, compute_uv=False) == pytest.approx(1, abs=2e-2)


def test_texts_without_a_shared_ngram_come_near_where_their_ngrams_occur_together(monkeypatch):
    monkeypatch.setattr(latent, "DIMENSIONS", 2)
    # N-grams 0 and 1 occur with 2, n-grams 3 and 4 with 5.
    rows = np.zeros((8, 6), np.float32)
    for text, present in enumerate([(0, 2), (1, 2), (0, 1, 2), (2,), (3, 5), (4, 5), (3, 4, 5), (5,)]):
        rows[text, list(present)] = 1
    inputs = as_sparse(rows)
    basis = find_basis(inputs, seed=0)
    first, second, other = basis[0], basis[1], basis[3]
    assert unit(first) @ unit(second) > 0.9
    assert abs(unit(first) @ unit(other)) < 0.3
    assert np.linalg.norm(project(inputs, basis), axis=1) == pytest.approx(LENGTH, rel=1e-3)


def test_a_latent_network_reads_only_ngrams_that_it_was_trained_with(trained):
    basis = directions(0, 5, 12)
    tier = Latent(basis=basis, network=trained)
    known = Read(np.array([1, 3]), np.array([0.6, 0.8], np.float32))
    more = Read(np.array([1, 3, 7]), np.array([0.6, 0.8, 0.5], np.float32))
    assert tier.logits(more) == pytest.approx(tier.logits(known), abs=1e-5)
    assert np.isfinite(tier.logits(Read(np.empty(0, np.int64), np.empty(0, np.float32)))).all()
    assert Latent.load(tier.dump()).logits(known) == pytest.approx(tier.logits(known), abs=0.1)
    assert Latent.load({}) is None


def test_what_is_forgotten_while_others_are_read_was_known_when_it_was_asked_for():
    class Forgetting(HashedEncoder):
        def encode(self, texts):
            meaning._remembered.clear()
            return super().encode(texts)

    meaning = Meaning(Forgetting(), np.zeros(48, dtype=np.float32))
    [first] = meaning.requests(["first"])
    assert np.array_equal(meaning.requests(["first", "second"])[0], first)

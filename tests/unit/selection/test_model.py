"""What was learnt offline, put away and taken out again; and what is refused."""

import io
import json
import pickle
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import ModelError
from dispatcher.selection import network, softmax, stored, training
from dispatcher.selection.card import Card
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.embedding import texts_of
from dispatcher.selection.example import Example
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import FORMAT, Model
from dispatcher.selection.selection import Decision
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.signed_bytes import rows_in_bytes, rows_in_floats
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.stored import StoredModel, dump_model, load_model, make_version
from dispatcher.selection.thresholds import Thresholds
from dispatcher.selection.training import train
from tests.unit.selection.making import (
    DESCRIPTIONS,
    HashedEncoder,
    WordByWord,
    add,
    make_cards,
    make_meaning,
    make_registry,
    make_two_languages,
    sentences,
    trained,
)

NOW = datetime(2026, 11, 25, 10, 15, tzinfo=UTC)
HELD_OUT = [example for example in sentences(held_out=True) if example.function]


@pytest.fixture(scope="module")
def deep() -> Model:
    """A model with both networks, trained on few texts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "MIN_NETWORK", 50)
        patched.setattr(network, "HIDDEN", 24)
        model = train(make_cards(), sentences(held_out=False), meaning=make_meaning())
    assert model.network is not None
    assert model.latent is not None
    return model


@pytest.fixture(scope="module")
def kept(deep) -> StoredModel:
    return deep.store(NOW)


def again(model: Model) -> Model:
    return Model.load(load_model(dump_model(model.store(NOW))))


def make_cascade(model: Model | None, registry=None) -> Cascade:
    meaning = make_meaning() if model is not None and model.encoder else None
    return Cascade(make_registry() if registry is None else registry, meaning=meaning, model=model)


# --- there and back


@pytest.mark.parametrize("kind", ["words", "meaning", "deep"])
def test_a_model_that_was_put_away_selects_the_same(kind, deep):
    model = {"words": trained(), "meaning": trained(with_meaning=True), "deep": deep}[kind]
    before, after = make_cascade(model), make_cascade(again(model))
    for example in sentences(held_out=True):
        mine, yours = before.select(example.text), after.select(example.text)
        assert mine.candidates[0].function == yours.candidates[0].function
        assert mine.candidates[0].probability == pytest.approx(yours.candidates[0].probability, abs=0.02)


def test_everything_that_is_known_of_a_model_is_kept(deep, kept):
    model = again(deep)
    assert model.version == kept.version
    assert model.functions == deep.functions
    assert model.metrics == deep.metrics
    assert {tier: len(curve) for tier, curve in model.curves.items()} == {
        tier: len(c) for tier, c in deep.curves.items()
    }
    assert set(model.curves) == {"softmax", "latent", "embedding", "network"}
    assert model.thresholds == deep.thresholds
    assert model.fusion == deep.fusion
    assert model.states == deep.states
    assert model.examples.texts == deep.examples.texts
    assert model.words == deep.words
    assert "essay" in model.words


def test_a_model_of_before_words_were_kept_is_still_read(kept):
    model = Model.load(replace(kept, meta={name: value for name, value in kept.meta.items() if name != "words"}))
    assert model.words == ()


def test_a_process_that_loads_a_model_reads_nothing_that_was_read_for_it(kept):
    model, meaning = Model.load(kept), make_meaning()
    snapshot = Snapshot(make_cards(), meaning=meaning, model=model)
    snapshot.score(snapshot.read("rain over the hills"))
    assert len(model.examples.texts) > 100
    assert meaning.encoder.asked == ["rain over the hills"]


def test_its_encoder_says_of_texts_what_it_said_before(deep):
    texts = [*deep.examples.texts, "rain over the hills"]
    plain, known = make_meaning(), again(deep).reader(make_meaning(), make_cards())
    assert known.requests(texts) == pytest.approx(plain.requests(texts), abs=0.005)
    assert known.requests(texts[-1:]) == pytest.approx(plain.requests(texts[-1:]), abs=1e-6)
    described = texts_of(make_cards())
    assert known.descriptions(described) == pytest.approx(plain.descriptions(described), abs=0.01)
    assert known.request(texts[0]) == pytest.approx(plain.request(texts[0]), abs=0.005)
    assert known.encoder.asked == ["rain over the hills"]


def test_a_function_that_was_described_anew_is_read_anew(deep):
    meaning = make_meaning()
    cards = [replace(c, description="Stop a song.") if c.name == "music.play" else c for c in make_cards()]
    Snapshot(cards, meaning=meaning, model=deep)
    assert meaning.encoder.asked == ["music play: Stop a song.", "Stop a song."]


def test_functions_own_examples_are_not_read_anew_either():
    cards = [replace(card, examples=(f"an example of {card.name}",)) for card in make_cards()]
    model, meaning = again(train(cards, sentences(held_out=False), meaning=make_meaning())), make_meaning()
    Snapshot(cards, meaning=meaning, model=model)
    assert meaning.encoder.asked == []


@pytest.mark.parametrize("with_glossary", [False, True])
def test_what_a_dictionary_said_is_known_only_where_there_is_one(with_glossary):
    glossary = WordByWord()
    reader = make_two_languages(glossary=glossary)
    examples = [*sentences(held_out=False), *(Example(text=f"天气 {n}", function="music.play") for n in range(4))]
    model = again(train(make_cards(), examples, meaning=reader))
    assert model.has_glossary
    known = model.reader(make_two_languages(glossary=glossary if with_glossary else None), make_cards())._known_requests
    assert ("天气 1" in known) is with_glossary
    assert set(known) >= {text for text in model.examples.texts if text.isascii()}


def test_an_encoder_of_other_numbers_under_its_name_reads_for_itself(deep):
    meaning = make_meaning(24)
    assert deep.reader(meaning, make_cards()) is meaning
    cascade = Cascade(make_registry(), meaning=meaning, model=deep)
    assert cascade.select("weather in paris").candidates


def test_known_vectors_are_nobodys_to_change(deep):
    with pytest.raises(ValueError, match="read-only"):
        again(deep).reader(make_meaning(), make_cards()).request(deep.examples.texts[0])[0] = 1


@pytest.mark.parametrize(
    ("codes", "scales"),
    [
        (np.ones((1, 1 << 20), np.int8), np.ones(1 << 20, np.float32)),
        (np.ones((140, 48), np.int16), None),
        (None, np.full(140, 1e30, np.float32)),
    ],
)
def test_known_vectors_out_of_bounds_are_refused_before_any_is_made(kept, codes, scales):
    arrays = dict(kept.arrays)
    arrays["requests_bytes"] = arrays["requests_bytes"] if codes is None else codes
    arrays["requests_scales"] = arrays["requests_scales"] if scales is None else scales
    with pytest.raises(ModelError):
        Model.load(replace(kept, arrays=arrays))


def test_rows_in_bytes_are_nearly_the_same_and_0_where_they_were():
    rows = np.array([[0.5, -0.25, 1e-4, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    again_rows = rows_in_floats(*rows_in_bytes(rows))
    assert again_rows == pytest.approx(rows, abs=0.004)
    assert np.array_equal(again_rows == 0, rows == 0)


def test_texts_beyond_those_that_are_kept_are_read_anew(monkeypatch):
    monkeypatch.setattr(training, "MAX_KNOWN", 10)
    model, meaning = again(train(make_cards(), sentences(held_out=False), meaning=make_meaning())), make_meaning()
    Snapshot(make_cards(), meaning=meaning, model=model)
    assert set(model.examples.texts) - set(meaning.encoder.asked) == set(model.examples.texts[:10])


@pytest.mark.parametrize("kept_back", ["requests", "descriptions"])
def test_a_model_of_before_vectors_were_kept_has_its_texts_read(kept, deep, kept_back):
    arrays = {name: array for name, array in kept.arrays.items() if not name.startswith(kept_back)}
    older = Model.load(replace(kept, arrays=arrays))
    meaning = make_meaning()
    snapshot = Snapshot(make_cards(), meaning=meaning, model=older)
    assert set(older.examples.texts) <= set(meaning.encoder.asked)
    text = older.examples.texts[0]
    newer = Snapshot(make_cards(), meaning=make_meaning(), model=deep)
    assert snapshot.neighbours.nearest(meaning.request(text), 0) == newer.neighbours.nearest(meaning.request(text), 0)


def test_with_another_encoder_of_as_many_numbers_texts_are_read_anew(deep):
    meaning = Meaning(HashedEncoder(48, "other/1"), np.zeros(48, dtype=np.float32))
    Snapshot(make_cards(), meaning=meaning, model=deep)
    assert {*deep.examples.texts, *texts_of(make_cards())} <= set(meaning.encoder.asked)


def test_states_are_kept_by_name():
    examples = [
        *sentences(held_out=False),
        Example(text="once more", function="music.play", state=ConversationState(topic="party")),
    ]
    model = again(train(make_cards(), examples))
    assert model.states["topic=party"]["music.play"] == 1
    cascade = make_cascade(model)
    plain, party = (
        cascade.select("please go on", state).candidates for state in (None, ConversationState(topic="party"))
    )
    chance = [{c.function: c.probability for c in candidates}["music.play"] for candidates in (plain, party)]
    assert chance[1] > chance[0]


def test_versions_sort_by_time_and_tell_contents_apart():
    one, other = {"a": np.zeros(3)}, {"a": np.ones(3)}
    later = NOW.replace(hour=11)
    assert make_version(NOW, one) == make_version(NOW, {"a": np.zeros(3)})
    assert make_version(NOW, one) != make_version(NOW, other)
    assert max(make_version(NOW, one), make_version(NOW, other)) < make_version(later, one)
    assert make_version(NOW, one).startswith("20261125T101500Z-")


# --- a registry that has changed since


@pytest.mark.parametrize("with_meaning", [False, True])
def test_a_model_serves_a_registry_that_has_changed_since(with_meaning):
    registry = make_registry(dict(reversed(DESCRIPTIONS.items())))
    registry.remove("text.slugify")
    add(registry, "food.order", "Order a pizza or another meal.")
    cascade = make_cascade(trained(with_meaning=with_meaning), registry)
    still = [example for example in HELD_OUT if example.function != "text.slugify"]
    firsts = [cascade.select(example.text).candidates[0].function for example in still]
    assert np.mean([first == example.function for first, example in zip(firsts, still, strict=True)]) > 0.9
    assert "text.slugify" not in firsts
    assert cascade.select("order a pizza or another meal").candidates[0].function == "food.order"


def test_a_deep_model_serves_a_registry_that_has_changed_since(deep):
    registry = make_registry()
    registry.remove("weather.forecast")
    add(registry, "food.order", "Order a pizza.")
    cascade = make_cascade(again(deep), registry)
    assert cascade.select("play harvest moon loud").candidates[0].function == "music.play"
    assert cascade.select("weather in the north").function != "weather.forecast"


def test_a_model_of_other_functions_only_does_no_harm():
    cascade = make_cascade(trained(), make_registry({"food.order": "Order a pizza.", "food.cook": "Cook a meal."}))
    assert cascade.select("cook a meal").candidates[0].function == "food.cook"


def test_a_model_serves_a_registry_that_has_grown_beyond_what_its_tables_hold(monkeypatch):
    monkeypatch.setattr(softmax, "MAX_CELLS", 1)  # as for a registry of very many functions
    assert len(trained().buckets) > 1_024
    registry = make_registry()
    for word in ("gardens", "kitchens", "bridges"):
        add(registry, f"about.{word}", f"Tell about {word}.")
    assert make_cascade(trained(), registry).select("tell about gardens").candidates[0].function == "about.gardens"


def test_a_model_of_another_encoder_serves_by_its_words():
    model = replace(trained(with_meaning=True), encoder="another/1", head=np.zeros((6, 3), np.float32))
    cascade = make_cascade(model)
    right = [cascade.select(e.text).candidates[0].function == e.function for e in HELD_OUT]
    assert np.mean(right) > 0.6  # of six functions


def test_a_model_with_vectors_serves_where_there_is_no_encoder():
    cascade = Cascade(make_registry(), model=trained(with_meaning=True))
    assert cascade.select("play harvest moon loud").candidates[0].function == "music.play"


@pytest.mark.parametrize(("meaning", "encoder"), [(None, ""), (make_meaning(), "another/1")])
def test_without_its_encoder_a_model_acts_and_abstains_by_its_words(meaning, encoder):
    model = trained(with_meaning=True)
    cascade = Cascade(make_registry(), meaning=meaning, model=replace(model, encoder=encoder or model.encoder))
    right = [cascade.select(example.text).function == example.function for example in HELD_OUT]
    assert np.mean(right) > 0.6
    outside = (
        "who won the match yesterday",
        "how tall is the eiffel tower",
        "repair my bicycle",
        "are bananas berries",
    )
    assert sum(cascade.select(text).decision is Decision.ABSTAIN for text in outside) >= 3
    assert cascade.thresholds == Thresholds()


def test_a_model_that_is_taken_without_its_encoder_is_told(caplog):
    cascade = Cascade(make_registry())
    cascade.use(trained())
    assert caplog.messages == []
    cascade.use(trained(with_meaning=True))
    assert [message.partition(":")[0] for message in caplog.messages] == ["model_without_its_encoder"]
    assert make_meaning().name in caplog.text


def test_with_its_encoder_or_with_none_of_its_own_a_model_is_as_it_was_trained():
    for model in (trained(with_meaning=True), trained()):
        assert model.for_encoder(model.encoder) is model
    assert trained().for_encoder("another/1") is trained()


# --- what is refused


def test_a_model_of_another_format_is_refused_and_says_what_to_do(kept):
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}.*train anew"):
        Model.load(replace(kept, meta={**kept.meta, "format": FORMAT + 1}))


@pytest.mark.parametrize(
    "key", ["format", "functions", "unmet", "states", "encoder", "examples", "fusion", "abstention", "thresholds"]
)
def test_a_model_that_lacks_something_is_refused(kept, key):
    with pytest.raises(ModelError, match="cannot be used"):
        Model.load(replace(kept, meta={name: value for name, value in kept.meta.items() if name != key}))


def test_a_model_that_lacks_an_array_is_refused(kept):
    optional = (
        "requests_digests",
        "descriptions_digests",
        "distance_whitening",
        "network_inner",
        "latent_network_inner",
    )
    for name in kept.arrays:
        if name not in optional:
            with pytest.raises(ModelError, match="cannot be used"):
                Model.load(
                    replace(kept, arrays={other: array for other, array in kept.arrays.items() if other != name})
                )


def use(kept: StoredModel) -> None:
    """Load a model and select with it: what does not fit must be found out before."""
    model = Model.load(kept)
    cascade = make_cascade(model)
    cascade.select("weather in paris")


SHAPES = (
    "buckets", "idf", "ngrams", "ngrams_bias", "counts_rows", "counts_columns", "counts_values", "calls", "head", "head_bias", "examples",
    "requests_digests", "requests_bytes", "requests_scales",
    "descriptions_digests", "descriptions_bytes", "descriptions_scales",
    "distance_whitening", "distance_general_whitening", "distance_general_mean",
    "network_inner", "network_inner_bias", "network_outer", "network_outer_bias",
    "latent_basis", "latent_network_inner", "latent_network_inner_bias", "latent_network_outer", "latent_network_outer_bias",
)  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_arrays_that_do_not_fit_together_are_refused(kept, name):
    array = kept.arrays[name]
    for spoilt in (array[:-1], array[..., :-1], array[None], np.concatenate((array, array))):
        if name == "latent_basis" and spoilt.shape[1:] == array.shape[1:]:
            continue  # n-grams that the basis does not know say nothing to it
        with pytest.raises(ModelError):
            use(replace(kept, arrays={**kept.arrays, name: spoilt}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in (*SHAPES, "distance_means")
        if not name.startswith(("buckets", "counts_r", "counts_c", "examples"))
        and not name.endswith(("_digests", "_bytes"))
    ],
)
def test_arrays_that_hold_what_is_no_number_are_refused(kept, name, value):
    array = kept.arrays[name].copy()
    array.flat[0] = value
    with pytest.raises(ModelError):
        use(replace(kept, arrays={**kept.arrays, name: array}))


@pytest.mark.parametrize(
    ("name", "value"), [("buckets", -1), ("buckets", 1 << 20), ("counts_rows", -1), ("counts_rows", 1 << 30)]
)
def test_places_outside_the_tables_are_refused(kept, name, value):
    array = kept.arrays[name].copy()
    array.flat[0] = value
    with pytest.raises(ModelError):
        use(replace(kept, arrays={**kept.arrays, name: array}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("functions", None),
        ("fusion", []),
        ("fusion", {"ngrams": [1.0]}),
        ("abstention", {}),
        ("thresholds", {"act_at": 7}),
        ("states", None),
        ("states", {"topic=a": 3}),
        ("unmet", "much"),
        ("unmet", float("nan")),
        ("fusion", {"ngrams": [float("nan"), 1.0]}),
    ],
)
def test_what_json_says_must_make_sense_too(kept, key, value):
    with pytest.raises(ModelError):
        use(replace(kept, meta={**kept.meta, key: value}))


# --- bytes


def rewrite(data: bytes, **changes: bytes) -> bytes:
    """The archive with other contents in some of its members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.pop(name.replace(".", "_"), None) or old.read(name))
    return buffer.getvalue()


class Trap:
    """Says so when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_a_pickle_is_refused_and_never_opened(kept):
    data = dump_model(kept)
    array = io.BytesIO()
    np.lib.format.write_array(array, np.array([Trap()], dtype=object), allow_pickle=True)
    for changes in (
        {"idf_npy": array.getvalue()},
        {"idf_npy": pickle.dumps(Trap())},
        {"meta_json": pickle.dumps(Trap())},
    ):
        with pytest.raises(ModelError):
            load_model(rewrite(data, **changes))
    assert not Trap.sprung


def test_what_holds_objects_is_not_even_written(kept):
    with pytest.raises(ValueError):
        dump_model(replace(kept, arrays={"a": np.array([object()])}))


@pytest.mark.parametrize("data", [b"", b"PK", b"{}", pickle.dumps({"format": 1}), b"\x00" * 1_000])
def test_what_is_no_model_is_refused(data):
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(data)


@pytest.mark.parametrize(
    "described",
    [
        b"[]",
        b"null",
        b"{}",
        b"{",
        b"[" * 50_000,
        b"\xff",
        b'{"version": 1, "created_at": "yesterday", "metrics": {}, "position": "", "meta": {}}',
    ],
)
def test_a_description_that_says_something_else_is_refused(kept, described):
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(rewrite(dump_model(kept), meta_json=described))


def test_an_array_that_claims_to_be_larger_than_any_memory_is_refused(kept):
    for shape in ("(1 << 50,)", "(1125899906842624,)", "(-1,)", "(9223372036854775807, 9223372036854775807)"):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        spoilt = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        with pytest.raises(ModelError, match="cannot be read"):
            load_model(rewrite(dump_model(kept), idf_npy=spoilt))


def test_a_model_larger_than_is_read_is_refused_unread(kept, monkeypatch):
    data = dump_model(kept)
    monkeypatch.setattr(stored, "MAX_MODEL_BYTES", 1_000)
    with pytest.raises(ModelError, match="at most 1,000 are read"):
        load_model(data)


SMALL = dump_model(
    StoredModel(
        version="v",
        created_at=NOW,
        metrics={"accuracy": 0.5},
        position="7",
        meta={"format": 1},
        arrays={"a": np.arange(50.0)},
    )
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, len(SMALL)),
)
def test_a_damaged_file_is_refused_or_read_and_nothing_else(changes, length):
    spoilt = bytearray(SMALL)
    for place, value in changes:
        spoilt[place] = value
    for data in (bytes(spoilt), bytes(spoilt[:length])):
        try:
            model = load_model(data)
        except ModelError:
            continue
        assert isinstance(model.version, str)


def test_a_small_model_is_the_same_after_its_bytes():
    model = load_model(SMALL)
    assert (model.version, model.created_at, model.position) == ("v", NOW, "7")
    assert model.metrics == {"accuracy": 0.5}
    assert (model.arrays["a"] == np.arange(50.0)).all()
    assert json.loads(zipfile.ZipFile(io.BytesIO(SMALL)).read("meta.json"))["meta"] == {"format": 1}


def test_everything_that_was_trained_is_asked(deep):
    snapshot = Snapshot(make_cards(), meaning=make_meaning(), model=again(deep))
    asked = snapshot.score(snapshot.read(HELD_OUT[0].text)).tiers
    assert {"ngrams", "bayes", "latent", "embedding", "network", "neighbours"} <= asked.keys()


def test_a_network_is_asked_with_vectors_as_long_as_those_that_it_was_trained_on(deep):
    meaning = make_meaning()
    snapshot = Snapshot(make_cards(), meaning=meaning, model=deep)
    for example in HELD_OUT[:5]:
        vector = meaning.request(example.text) * np.float32(network.LENGTH)
        expected = deep.network.logits(vector)[: snapshot.size]
        assert snapshot.score(snapshot.read(example.text)).tiers["network"] == pytest.approx(expected, abs=1e-4)


def test_a_functions_own_examples_count_once_where_a_model_was_trained_on_them():
    said = {"a.one": ("count the words", "how many words"), "b.two": ("play a song", "some music please")}
    cards = [Card(name=name, examples=texts) for name, texts in said.items()]
    model = train(cards, [Example(text=text, function=name) for name, texts in said.items() for text in texts])
    late = replace(cards[0], examples=(*cards[0].examples, "an example of later"))
    snapshot = Snapshot([late, cards[1]], model=model)
    assert snapshot.bayes.calls.tolist() == [3, 2]
    assert snapshot.examples.tolist() == [3, 2]

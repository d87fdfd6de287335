"""Training on a small made-up assistant: better than before it, on sentences that it did not see."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from dispatcher.errors import ModelError
from dispatcher.selection import fusion, linear_training, network, training, tuning, vector_training
from dispatcher.selection.abstention import SIGNALS, Abstention
from dispatcher.selection.card import Card
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.exact import plain
from dispatcher.selection.example import Example
from dispatcher.selection.loss import Linear
from dispatcher.selection.model import Model
from dispatcher.selection.rules import KeywordRule, compile_rules
from dispatcher.selection.selection import Decision
from dispatcher.selection.selector import ConversationState
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.training import train
from dispatcher.selection.tuning import HeldOut, keep_refusing, look_at
from tests.unit.selection.making import (
    DESCRIPTIONS,
    TEMPLATES,
    WordByWord,
    make_cards,
    make_meaning,
    make_registry,
    make_two_languages,
    make_validation,
    sentences,
    trained,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
HELD_OUT = sentences(held_out=True)
INSIDE = [example for example in HELD_OUT if example.function]
OUTSIDE = [example for example in HELD_OUT if not example.function]


def accuracy(model: Model | None, *, with_meaning: bool = False) -> float:
    """How often the first candidate is right, on sentences that nobody trained on."""
    cascade = Cascade(make_registry(), meaning=make_meaning() if with_meaning else None, model=model)
    return float(
        np.mean([cascade.select(example.text).candidates[0].function == example.function for example in INSIDE])
    )


@pytest.mark.parametrize("with_meaning", [False, True])
@pytest.mark.parametrize("with_outside", [False, True])
@pytest.mark.parametrize("with_validation", [False, True])
def test_training_clearly_beats_not_training(with_meaning, with_outside, with_validation):
    examples, validation = make_validation() if with_validation else (sentences(held_out=False), [])
    if not with_outside:
        examples = [example for example in examples if example.function]
        validation = [example for example in validation if example.function]
    model = train(make_cards(), examples, validation=validation, meaning=make_meaning() if with_meaning else None)
    reached = accuracy(model, with_meaning=with_meaning)
    assert reached >= 0.9
    assert reached >= accuracy(None, with_meaning=with_meaning) + 0.1


@pytest.mark.parametrize("with_meaning", [False, True])
def test_texts_that_nothing_fits_are_told_from_the_others(with_meaning):
    cascade = Cascade(
        make_registry(), meaning=make_meaning() if with_meaning else None, model=trained(with_meaning=with_meaning)
    )
    inside, outside = ([cascade.select(example.text) for example in examples] for examples in (INSIDE, OUTSIDE))
    ranked = np.mean([one.in_scope > other.in_scope for one in inside for other in outside])
    assert ranked > 0.9
    told_off = [np.mean([selection.decision is Decision.ABSTAIN for selection in group]) for group in (outside, inside)]
    assert told_off[0] > 0.8
    assert told_off[0] > told_off[1] + 0.2


@pytest.mark.parametrize("with_outside", [False, True])
def test_a_trained_model_takes_a_tenth_of_all_texts_to_ask_for_nothing(monkeypatch, with_outside):
    examples = [example for example in sentences(held_out=False) if example.function or with_outside]
    trained_for = {}
    for share in (0.5, 0.1):
        monkeypatch.setattr(tuning, "OUTSIDE_SHARE", share)
        trained_for[share] = train(make_cards(), examples).abstention
    assert trained_for[0.1].bias == pytest.approx(trained_for[0.5].bias + np.log(9))
    assert trained_for[0.1].weights == pytest.approx(trained_for[0.5].weights)


def test_both_networks_are_trained_where_there_are_texts_enough(monkeypatch):
    monkeypatch.setattr(training, "MIN_NETWORK", 50)
    monkeypatch.setattr(network, "HIDDEN", 24)
    model = train(make_cards(), sentences(held_out=False), meaning=make_meaning())
    assert set(model.curves) == {"softmax", "latent", "embedding", "network"}
    assert accuracy(model, with_meaning=True) >= 0.9


def test_folds_train_networks_where_the_whole_does_though_they_have_fewer_texts(monkeypatch):
    """A tier that no fold has keeps the weight that it came with, beside others that were found to be true without it."""
    examples = [example for example in sentences(held_out=False) if example.function]
    monkeypatch.setattr(training, "MIN_NETWORK", len(examples))
    monkeypatch.setattr(network, "HIDDEN", 24)
    model = train(make_cards(), examples, meaning=make_meaning())
    assert model.network is not None
    assert model.latent is not None
    for tier in (fusion.NETWORK, fusion.LATENT):
        assert model.fusion.weights[tier].trained != fusion.MEANING.weights[tier].trained


def test_validation_texts_that_are_learnt_from_in_the_end_bring_no_network_that_nothing_is_known_of(monkeypatch):
    examples, validation = make_validation()
    count = sum(example.function is not None for example in examples)
    monkeypatch.setattr(training, "MIN_NETWORK", count + 1)
    model = train(make_cards(), examples, validation=validation, refit=True)
    assert model.calls.sum() > count
    assert model.latent is None


def test_examples_as_if_in_another_language_do_not_make_up_for_texts_that_are_missing(monkeypatch):
    examples = [example for example in sentences(held_out=False) if example.function]
    monkeypatch.setattr(training, "MIN_NETWORK", len(examples) + 1)
    assert train(make_cards(), examples, meaning=make_two_languages()).network is None


def test_every_trained_tier_has_a_learning_curve_that_falls():
    examples, validation = make_validation()
    for model in (
        trained(with_meaning=True),
        train(make_cards(), examples, validation=validation, meaning=make_meaning()),
    ):
        assert set(model.curves) == {"softmax", "embedding"}
        for curve in model.curves.values():
            assert [epoch["epoch"] for epoch in curve] == list(range(1, len(curve) + 1))
            assert curve[-1]["train_loss"] < curve[0]["train_loss"]


def test_early_stopping_looks_at_validation_where_there_is_enough_of_it(monkeypatch):
    monkeypatch.setattr(linear_training, "MIN_VALIDATION", 10)
    examples, validation = make_validation()
    model = train(make_cards(), examples, validation=validation)
    assert all("valid_loss" in epoch for epoch in model.curves["softmax"])
    assert accuracy(model) >= 0.9


def train_by_falling_and_by_rising_losses(monkeypatch):
    """Two models that differ by what their validation losses did."""
    monkeypatch.setattr(linear_training, "MIN_VALIDATION", 10)
    examples, validation = make_validation()
    for way in (-1, 1):
        losses = itertools.count(0, way)
        monkeypatch.setattr(Linear, "loss", lambda *_, losses=losses: float(next(losses)))
        yield train(make_cards(), examples, validation=validation, meaning=make_meaning())


def test_the_head_over_sentence_vectors_learns_on_where_its_validation_loss_rises(monkeypatch):
    falling, rising = train_by_falling_and_by_rising_losses(monkeypatch)
    assert rising.curves["embedding"][-1]["valid_loss"] > rising.curves["embedding"][0]["valid_loss"]
    assert rising.head == pytest.approx(falling.head)
    assert rising.head_bias == pytest.approx(falling.head_bias)
    # The one by words stops there.
    assert np.abs(rising.ngrams - falling.ngrams).max() > 0.1


def test_of_many_examples_the_head_over_sentence_vectors_stops_where_its_validation_loss_rises(monkeypatch):
    monkeypatch.setattr(vector_training, "MANY_TEXTS", 10)
    falling, rising = train_by_falling_and_by_rising_losses(monkeypatch)
    assert np.abs(rising.head - falling.head).max() > 0.1


def test_heads_do_not_learn_how_often_a_function_is_asked_for():
    often, seldom = "music.play", "weather.forecast"
    cards = [card for card in make_cards() if card.name in {often, seldom}]
    examples = [Example(text=f"kindly see to number {n}", function=seldom if n % 10 == 0 else often) for n in range(60)]
    meaning = make_meaning()
    snapshot = Snapshot(cards, meaning=meaning, model=train(cards, examples, meaning=meaning))
    tiers = snapshot.score(snapshot.read("kindly see to number seven", None)).tiers
    for tier in (fusion.NGRAMS, fusion.EMBEDDING):
        assert tiers[tier][snapshot.names[often]] - tiers[tier][snapshot.names[seldom]] < 0.1


@pytest.mark.parametrize("with_meaning", [False, True])
def test_validation_examples_are_learnt_from_in_the_end_where_that_is_wanted(with_meaning):
    examples, validation = make_validation()
    meaning = make_meaning() if with_meaning else None
    apart, refit = (
        train(make_cards(), examples, validation=validation, meaning=meaning, refit=refit) for refit in (False, True)
    )
    everything = [example for example in (*examples, *validation) if example.function]
    assert refit.calls.sum() == len(everything) > apart.calls.sum()
    assert set(apart.examples.texts) < set(refit.examples.texts)
    # What holds the tiers together, and what is known of it, was found before they saw these texts.
    assert refit.fusion == apart.fusion
    assert refit.thresholds.act_at == apart.thresholds.act_at
    assert refit.abstention.weights.tolist() == apart.abstention.weights.tolist()
    assert refit.metrics == apart.metrics
    assert refit.curves == apart.curves
    assert accuracy(refit, with_meaning=with_meaning) >= 0.9


def test_a_model_that_learnt_more_refuses_what_it_refused_before():
    examples, validation = make_validation()
    outside = [example for example in (*examples, *validation) if not example.function]
    model = train(make_cards(), examples, validation=validation)
    snapshot = Snapshot(make_cards(), model=model)

    def refused(one: Model) -> float:
        scores = [one.abstention.in_scope(row) for row in look_at(snapshot, outside).signals(one)]
        return float(np.mean(np.array(scores) < one.thresholds.ask_at))

    raised = replace(model, metrics={**model.metrics, "refused": 0.7})
    moved = keep_refusing(raised, look_at(snapshot, outside))
    assert refused(raised) > 0.8
    assert refused(moved) == pytest.approx(0.7, abs=0.05)
    assert moved.thresholds.act_at == raised.thresholds.act_at
    assert keep_refusing(raised, look_at(snapshot, outside[:10])) == raised  # too few to tell


def test_what_is_known_of_a_model_was_measured_on_texts_that_it_did_not_see():
    for model in (trained(), trained(with_meaning=True)):
        assert 0.8 <= model.metrics["accuracy"] <= 1
        assert 0 <= model.metrics["ece"] <= 0.2
        assert model.metrics["auroc"] > 0.9
        assert model.metrics["examples"] == len([e for e in sentences(held_out=False) if e.function])


@pytest.mark.parametrize("with_meaning", [False, True])
def test_one_seed_makes_one_model(with_meaning):
    def version(seed: int) -> str:
        meaning = make_meaning() if with_meaning else None
        return train(make_cards(), sentences(held_out=False), meaning=meaning, seed=seed).store(NOW).version

    assert version(1) == version(1)
    assert version(1) != version(2)


def test_it_says_what_it_is_doing():
    told = []
    train(make_cards(), sentences(held_out=False), meaning=make_meaning(), progress=told.append)
    assert {"training the softmax tier", "training the embedding tier"} <= set(told)


# --- what it is given


def test_examples_of_functions_that_there_are_not_are_left_out():
    gone = [Example(text=f"dance {word}", function="dance.tango") for word in ("slowly", "now", "twice")]
    with_gone = train(make_cards(), [*sentences(held_out=False), *gone])
    assert with_gone.store(NOW).version == trained().store(NOW).version
    assert "dance.tango" not in with_gone.functions


def test_without_an_example_of_any_function_there_is_nothing_to_train_on():
    for examples in ([], [Example(text="dance", function="dance.tango")], [Example(text="hello", function=None)] * 30):
        with pytest.raises(ModelError, match="no example of any registered function"):
            train(make_cards(), examples)


def test_examples_under_an_alias_are_examples_of_the_function():
    cards = [replace(card, aliases=("sing",)) if card.name == "music.play" else card for card in make_cards()]
    examples = [replace(e, function="sing") if e.function == "music.play" else e for e in sentences(held_out=False)]
    model = train(cards, examples)
    assert model.functions == tuple(card.name for card in cards)
    assert model.calls[model.functions.index("music.play")] == 20


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("with_meaning", [False, True])
def test_very_few_examples_are_enough_not_to_fail(count, with_meaning):
    few = [e for e in sentences(held_out=False) if e.function][::17][:count]
    model = train(make_cards(), few, meaning=make_meaning() if with_meaning else None)
    cascade = Cascade(
        make_registry(), meaning=make_meaning() if with_meaning else None, model=Model.load(model.store(NOW))
    )
    assert cascade.select("count the words of a text").candidates[0].function == "text.count_words"
    assert cascade.select(few[0].text).candidates[0].function == few[0].function


def test_examples_of_one_function_only_are_enough_not_to_fail():
    model = train(make_cards(), [e for e in sentences(held_out=False) if e.function == "music.play"])
    cascade = Cascade(make_registry(), model=model)
    assert cascade.select("play harvest moon loud").candidates[0].function == "music.play"


def test_a_registry_of_one_function_can_be_trained():
    card = Card(name="music.play", description="Play a song.")
    examples = [e for e in sentences(held_out=False) if e.function in {None, "music.play"}]
    model = train([card], examples)
    cascade = Cascade(make_registry({card.name: card.description}), model=model)
    assert cascade.select("play harvest moon loud").candidates[0].function == "music.play"


@pytest.mark.parametrize("kind", ["inside", "outside"])
def test_validation_of_one_kind_only_is_enough_not_to_fail(kind):
    validation = INSIDE if kind == "inside" else OUTSIDE
    model = train(make_cards(), sentences(held_out=False), validation=validation)
    assert accuracy(model) >= 0.9


def test_odd_texts_can_be_trained_on():
    odd = [
        Example(text=text, function="music.play")
        for text in ("", "🎉", "\x00", "\ud800", "a" * 5_000, "   ", "放一首歌")
    ]
    for meaning in (None, make_meaning()):
        model = train(
            make_cards(), [*sentences(held_out=False), *odd, Example(text="", function=None)], meaning=meaning
        )
        assert accuracy(model, with_meaning=meaning is not None) >= 0.9


def test_only_odd_texts_can_be_trained_on():
    model = train(make_cards(), [Example(text=text, function="music.play") for text in ("", "🎉", "!?")])
    assert (
        Cascade(make_registry(), model=model).select("play a song of an artist").candidates[0].function == "music.play"
    )


def test_a_heavier_example_teaches_more():
    def probability(weight: float) -> float:
        contested = [
            Example(text="zany request", function="music.play", weight=weight),
            Example(text="zany request", function="text.slugify"),
        ]
        cascade = Cascade(make_registry(), model=train(make_cards(), [*sentences(held_out=False), *contested]))
        return {c.function: c.probability for c in cascade.select("zany requests").candidates}["music.play"]

    assert probability(5.0) > probability(0.2)


def test_the_state_of_an_example_is_learnt():
    again = [Example(text="again", function="music.play", state=ConversationState(previous_function="music.play"))] * 3
    model = train(make_cards(), [*sentences(held_out=False), *again])
    assert model.states["previous=music.play"] == {"music.play": 3}


def test_words_of_texts_that_are_not_remembered_are_known_from_the_start_too(monkeypatch):
    monkeypatch.setattr(training, "MAX_OF_FUNCTION", 1)
    texts = ("zany music", "zany blaring music", "zany blaring tunes tunes tunes")
    model = train(make_cards(), [Example(text=text, function="music.play") for text in texts])
    assert len(model.examples.texts) == 1
    assert model.words == ("zany", "blaring", "music", "tunes")
    monkeypatch.setattr(training, "MAX_WORDS", 2)
    assert training._common_words([Example(text=text, function="music.play") for text in texts]) == ("zany", "blaring")
    told: list[list[str]] = []
    monkeypatch.setattr(Snapshot, "remember_words", lambda _, texts: told.append(list(texts)))
    Cascade(make_registry(), model=model).select("zany")
    assert told[0][: 1 + len(model.words)] == [*model.examples.texts, *model.words]


def test_a_function_without_examples_among_trained_ones_can_still_be_selected():
    examples = [e for e in sentences(held_out=False) if e.function != "weather.forecast"]
    for meaning in (None, make_meaning()):
        cascade = Cascade(make_registry(), meaning=meaning, model=train(make_cards(), examples, meaning=meaning))
        assert (
            cascade.select("tell the weather of the coming days in my city").candidates[0].function
            == "weather.forecast"
        )


#: By function. The names in them are English words of other functions, and say nothing.
ABROAD = {
    "music.play": ("播放 歌曲 Weather in Paris", "播放 How Many Words"),
    "weather.forecast": ("天气 在 Invoice 会 下雨 吗", "Slug 的 天气"),
    "mail.send_invoice": ("给 Harvest Moon 发 发票", "让 Song of the Rain 付款"),
    "text.translate": ("翻译 Play It Loud 成 德语",),
    "text.count_words": ("Weather Song 有 多少 单词",),
    "text.slugify": ("French 的 网址 短横",),
}


def test_what_was_learnt_in_english_holds_for_requests_in_another_script():
    meaning = make_two_languages(128)
    examples = [example for example in sentences(held_out=False) if example.function]
    cascade = Cascade(make_registry(), meaning=meaning, model=train(make_cards(), examples, meaning=meaning))
    said = {text: cascade.select(text).candidates[0].function for texts in ABROAD.values() for text in texts}
    assert said == {text: name for name, texts in ABROAD.items() for text in texts}


def test_words_and_past_calls_speak_in_the_language_that_was_trained_in():
    meaning = make_two_languages(128)
    abroad = [Example(text=text, function=name) for name, texts in ABROAD.items() for text in texts]
    for examples, knows in ((sentences(held_out=False), False), ([*sentences(held_out=False), *abroad], True)):
        snapshot = Snapshot(make_cards(), meaning=meaning, model=train(make_cards(), examples, meaning=meaning))
        tiers = snapshot.score(snapshot.read("播放 歌曲 Weather in Paris")).tiers
        for tier in ("ngrams", "bayes", "lexical", "prior"):
            assert tiers[tier].any() == knows, tier
        assert snapshot.score(snapshot.read("play weather in paris")).tiers["ngrams"].any()


#: The same in German.
IN_GERMAN = {
    "spiele mir das lied invoice today": "music.play",
    "spiele mir ein lied von slug essay": "music.play",
    "wie wird das wetter in song artist": "weather.forecast",
    "zeig mir bitte das wetter von play loud": "weather.forecast",
    "schreib eine rechnung an weather umbrella": "mail.send_invoice",
}


def test_what_was_learnt_in_english_holds_for_requests_in_another_language_of_latin_letters():
    meaning = make_two_languages(128)
    examples = [example for example in sentences(held_out=False) if example.function]
    model = train(make_cards(), examples, meaning=meaning)
    cascade = Cascade(make_registry(), meaning=meaning, model=model)
    assert {text: cascade.select(text).candidates[0].function for text in IN_GERMAN} == IN_GERMAN
    snapshot = Snapshot(make_cards(), meaning=meaning, model=model)
    for text in IN_GERMAN:
        reading = snapshot.read(text)
        assert reading.foreign
        assert not meaning.has_english(reading.vector)
        assert reading.language == reading.heard == pytest.approx(reading.met**2)
    english = snapshot.read("play weather in paris")
    assert (english.foreign, english.language, english.heard) == (False, 1.0, 1.0)
    assert meaning.has_english(english.vector)


def test_words_that_were_met_are_not_strange():
    cards = make_cards({**DESCRIPTIONS, "kitchen.flambé": "Brandade flambé."})
    snapshot = Snapshot(cards, meaning=make_two_languages())
    met, unmet = snapshot.read("brandade flambé"), snapshot.read("gratin fumé")
    assert (met.met > 0.5, met.foreign) == (True, False)
    assert (unmet.met < 0.5, unmet.foreign) == (True, True)


def test_only_a_trained_selector_hears_less_of_another_language(monkeypatch):
    heard: list[float] = []
    in_scope = Abstention.in_scope

    def listen(abstention: Abstention, signals: list[float], *, heard: float = 1.0, said: list[float] = heard) -> float:
        said.append(heard)
        return in_scope(abstention, signals, heard=heard)

    monkeypatch.setattr(Abstention, "in_scope", listen)
    meaning, text = make_two_languages(128), "wie wird das wetter morgen"
    Cascade(make_registry(), meaning=meaning).select(text)
    assert heard == [1.0]
    model = train(make_cards(), sentences(held_out=False), meaning=meaning)
    heard.clear()
    cascade = Cascade(make_registry(), meaning=meaning, model=model)
    cascade.select(text)
    assert heard == [cascade._decider_now().snapshot.read(text).heard]
    assert heard[0] < 1


def test_a_text_that_is_read_word_for_word_in_english_is_heard_as_english_is():
    alone, glossed = make_two_languages(), make_two_languages(glossary=WordByWord())
    heard = [Snapshot(make_cards(), meaning=meaning).read("播放 歌曲").heard for meaning in (alone, glossed)]
    assert heard == [0.0, 1.0]


def test_a_language_that_was_trained_in_is_read_as_it_was_trained():
    meaning = make_two_languages(128)
    german = [Example(text=text, function=name) for text, name in IN_GERMAN.items()]
    examples = [*sentences(held_out=False, outside=False)[::12], *german]
    snapshot = Snapshot(make_cards(), meaning=meaning, model=train(make_cards(), examples, meaning=meaning))
    assert not any(snapshot.read(text).foreign for text in IN_GERMAN)
    assert snapshot.read("quelle est la météo demain").foreign


def test_an_untrained_selector_knows_the_languages_that_its_functions_are_described_in():
    meaning, text = make_two_languages(), "wie wird das wetter morgen"
    assert Snapshot(make_cards(), meaning=meaning).read(text).foreign
    described = make_cards(
        {"wetter": "Sag wie das Wetter in einer Stadt wird.", "lied": "Spiele ein Lied von jemandem."}
    )
    assert not Snapshot(described, meaning=meaning).read(text).foreign


def test_without_an_encoder_for_other_languages_words_are_weighed_as_ever():
    for meaning in (None, make_meaning()):
        reading = Snapshot(make_cards(), meaning=meaning).read("wie wird das wetter morgen")
        assert (reading.foreign, reading.language) == (False, 1.0)


@pytest.mark.parametrize("with_meaning", [False, True])
def test_a_function_knows_none_of_its_own_examples_while_they_are_held_out(monkeypatch, with_meaning):
    examples = [example for example in sentences(held_out=False) if example.function]
    own = {name: tuple(e.text for e in examples if e.function == name) for name in DESCRIPTIONS}
    cards = [replace(card, examples=own[card.name]) for card in make_cards()]
    # The log has them as people type them, some of them again and again.
    said = [*examples, *(replace(e, text=f"{e.text.upper()}!") for e in examples[::3])]
    judged = []

    def look(snapshot: Snapshot, held_out: list[Example]) -> HeldOut:
        judged.extend((snapshot, example) for example in held_out)
        return look_at(snapshot, held_out)

    monkeypatch.setattr(training, "look_at", look)
    train(cards, said, meaning=make_meaning() if with_meaning else None)
    assert len(judged) >= len(said)
    for snapshot, example in judged:
        assert snapshot.exact.known(example.text) is None
        assert all(plain(example.text) not in map(plain, card.examples) for card in snapshot.cards)
        if snapshot.neighbours is not None and example.text.strip():
            reading = snapshot.read(example.text)
            assert all(
                plain(snapshot.neighbours.nearest(reading.vector, position)[0]) != plain(example.text)
                for position in range(snapshot.size)
            )


@pytest.mark.parametrize("with_meaning", [False, True])
def test_what_nobody_could_guess_is_not_guessed_because_the_function_has_it_as_an_example(with_meaning):
    rng = np.random.default_rng(0)
    made_up = ["".join(rng.choice(list("bcdfghklmnprstvwxz"), 9)) for _ in range(60)]
    examples = [Example(text=text, function=name) for text, name in zip(made_up, [*DESCRIPTIONS] * 10, strict=True)]
    own = {name: tuple(e.text for e in examples if e.function == name) for name in DESCRIPTIONS}
    cards = [replace(card, examples=own[card.name]) for card in make_cards()]
    model = train(cards, examples, meaning=make_meaning() if with_meaning else None)
    assert model.metrics["accuracy"] < 0.5


def test_a_function_that_is_left_out_is_not_found_by_its_description():
    cards = tuple(make_cards())
    gone = cards[0].name
    trainer = training._Trainer(cards, (), None, 0, lambda _: None)
    model = trainer.fit([e for e in sentences(held_out=False) if e.function not in {None, gone}], ())
    theirs = [Example(text=cards[0].description, function=None)]
    coverage = SIGNALS.index("coverage")
    found, lost = (
        trainer.judge(model, (), theirs, left_out=left_out)[1].signals(model)[0, coverage] for left_out in ((), {gone})
    )
    assert found > 0.9
    assert lost < 0.5


def test_training_learns_how_far_to_trust_rules():
    """Rules that speak for other functions than their words mean are trusted less than those that are right."""
    names = list(TEMPLATES)

    def weight_of(shift: int) -> float:
        rules = [
            KeywordRule(
                function=names[(place + shift) % len(names)],
                any_of=tuple(max(template.split("{}"), key=len).strip() for template in TEMPLATES[name]),
            )
            for place, name in enumerate(names)
        ]
        compiled = compile_rules(rules, make_registry())
        return train(make_cards(), sentences(held_out=False), rules=compiled).fusion.weights["keywords"].trained

    assert weight_of(1) < weight_of(0)


@pytest.mark.parametrize("with_meaning", [False, True], ids=["words", "meaning"])
def test_a_function_with_few_examples_is_found_beside_one_with_many(with_meaning):
    """What is seldom asked for is found by what a text says: the heads do not learn what is asked for often."""
    cards = [Card(name="many", description=""), Card(name="few", description="")]
    often = [Example(text=f"alpha common {filling}", function="many") for filling in "abcdefghijklmnopqrstuvwxyz"]
    rarely = [Example(text=f"omega common {filling}", function="few") for filling in "ab"]
    model = train(cards, often + rarely, meaning=make_meaning() if with_meaning else None)
    gaps = [model.ngrams_bias[0] - model.ngrams_bias[1]]
    if with_meaning:
        gaps.append(model.head_bias[0] - model.head_bias[1])
    assert max(gaps) < 0.5 < np.log(len(often) / len(rarely))

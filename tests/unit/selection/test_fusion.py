"""How tiers become one probability, and whether any function is meant at all."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.selection.abstention import SIGNALS, Abstention, energy, fit_abstention
from dispatcher.selection.defaults import MEANING_ABSTENTION, WORDS_ABSTENTION
from dispatcher.selection.fusion import MEANING, WORDS, Fusion, Weight, fit_fusion, keep_pace, set_temperature, share_of
from dispatcher.selection.loss import softmax
from dispatcher.selection.thresholds import Thresholds

TWO = Fusion(weights={tier: Weight(untrained=0.5, trained=0.5) for tier in ("good", "noise")})


def held_out(examples: int = 200, functions: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a tier that knows them more or less, and one that knows nothing."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, functions, examples)
    good = rng.standard_normal((examples, functions)).astype(np.float32)
    good[np.arange(examples), labels] += 2
    return labels, good, 3 * rng.standard_normal((examples, functions)).astype(np.float32)


def test_the_tier_that_knows_more_comes_to_count_more():
    labels, good, noise = held_out()
    fitted = fit_fusion(["good", "noise"], [good, noise], labels, start=TWO)
    assert fitted.weights["good"].trained > 5 * fitted.weights["noise"].trained
    assert fitted.weights["good"].trained > 0.5


def test_weights_stay_above_zero_even_of_a_tier_that_is_always_wrong():
    labels, good, _ = held_out()
    fitted = fit_fusion(["good", "noise"], [good, -good], labels, start=TWO)
    assert all(weight.trained > 0 for weight in fitted.weights.values())


def test_fitted_weights_make_probabilities_true():
    labels, good, noise = held_out(2_000)
    fitted = fit_fusion(["good", "noise"], [10 * good, noise], labels, start=TWO)
    logits = fitted.weights["good"].trained * 10 * good + fitted.weights["noise"].trained * noise
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    sure = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
    assert sure.mean() == pytest.approx((logits.argmax(axis=1) == labels).mean(), abs=0.05)


def test_a_strong_pull_keeps_the_weights_where_they_start():
    labels, good, noise = held_out()
    fitted = fit_fusion(["good", "noise"], [good, noise], labels, start=TWO, pull=1e6)
    assert [weight.trained for weight in fitted.weights.values()] == pytest.approx([0.5, 0.5], abs=0.05)


def test_what_untrained_functions_weigh_and_tiers_that_are_not_learnt_are_kept():
    labels, good, noise = held_out()
    start = Fusion(weights={**TWO.weights, "other": Weight(untrained=0.1, trained=0.9)})
    fitted = fit_fusion(["good", "noise"], [good, noise], labels, start=start)
    assert fitted.weights["other"] == start.weights["other"]
    assert {weight.untrained for weight in fitted.weights.values()} == {0.5, 0.1}


def test_where_trained_weights_grow_those_of_functions_with_few_examples_grow_as_far():
    labels, good, _ = held_out(2_000)
    start = Fusion(weights={**TWO.weights, "other": Weight(untrained=0.1, trained=0.9)})
    tiers, small = ["good", "noise"], [good / 10, good / 10]
    fitted = fit_fusion(tiers, small, labels, start=start)
    grown = keep_pace(fitted, tiers, small, start=start)
    growth = sum(fitted.weights[tier].trained for tier in tiers) / 1.0
    assert growth > 2
    assert [grown.weights[tier].untrained for tier in tiers] == pytest.approx([0.5 * growth] * 2, rel=0.01)
    assert [grown.weights[tier].trained for tier in tiers] == [fitted.weights[tier].trained for tier in tiers]
    assert grown.weights["other"] == start.weights["other"]


def test_where_trained_weights_shrink_those_of_functions_with_few_examples_stay():
    labels, good, noise = held_out(2_000)
    large = [10 * good, 10 * noise]
    fitted = fit_fusion(["good", "noise"], large, labels, start=TWO)
    assert keep_pace(fitted, ["good", "noise"], large, start=TWO) == fitted


def test_a_tier_for_trained_functions_alone_sets_no_pace():
    labels, good, noise = held_out(2_000)
    start = Fusion(weights={"good": Weight(untrained=0.0, trained=0.5), "noise": Weight(untrained=0.5, trained=0.5)})
    fitted = fit_fusion(["good", "noise"], [good / 10, noise], labels, start=start)
    assert fitted.weights["good"].trained > 1
    assert keep_pace(fitted, ["good", "noise"], [good / 10, noise], start=start) == fitted


def how_sure(fusion: Fusion, logits: list[np.ndarray], labels: np.ndarray, shares: np.ndarray) -> float:
    """By how much the first one's probability is above how often it is right, on average."""
    fused = fusion.fuse(["good", "noise"], logits, shares)
    return float(softmax(fused).max(axis=1).mean() - (fused.argmax(axis=1) == labels).mean())


def test_weights_are_learnt_for_functions_with_as_many_examples_as_they_had():
    """Were all taken for trained ones, the tiers would count too little for functions with few examples."""
    labels, good, noise = held_out(2_000)
    start = Fusion(weights={tier: Weight(untrained=0.0, trained=0.5) for tier in ("good", "noise")})
    shares = np.broadcast_to(share_of(np.array([2, 2, 5, 10, 10], np.float32)), good.shape)
    asked = (["good", "noise"], [good, noise], labels)
    fitted = fit_fusion(*asked, start=start, shares=shares)
    assert how_sure(fitted, [good, noise], labels, shares) == pytest.approx(0, abs=0.015)
    assert how_sure(fit_fusion(*asked, start=start), [good, noise], labels, shares) < -0.05


def test_untrained_weights_count_as_far_as_functions_are_untrained_while_the_trained_ones_are_learnt():
    labels, good, noise = held_out(2_000)
    shares = np.zeros(good.shape, np.float32)
    fitted = fit_fusion(["good", "noise"], [good, noise], labels, start=TWO, shares=shares)
    assert fitted.weights == pytest.approx(TWO.weights)  # nothing of them could be seen
    assert fitted.fuse(["good", "noise"], [good, noise], shares) == pytest.approx(0.5 * good + 0.5 * noise)


def test_what_untrained_weights_say_already_is_not_learnt_once_more():
    """Half way between, a tier counts half of both: the more the one is, the less is left for the other."""
    labels, good, noise = held_out(2_000)
    shares = np.full(good.shape, 0.5, np.float32)
    both = []
    for untrained in (0.2, 2.5):
        start = Fusion(weights={**TWO.weights, "good": Weight(untrained=untrained, trained=0.5)})
        fitted = fit_fusion(["good", "noise"], [good, noise], labels, start=start, shares=shares)
        both.append(untrained + fitted.weights["good"].trained)
    assert both[0] == pytest.approx(both[1], rel=0.01)


def test_weights_that_grew_afterwards_are_no_surer_than_was_found_to_be_true():
    labels, good, noise = held_out(2_000)
    asked = (["good", "noise"], [good, noise], labels)
    shares = np.full(good.shape, 0.5, np.float32)
    fitted = fit_fusion(*asked, start=TWO, shares=shares)
    grown = Fusion(weights={tier: Weight(untrained=1.2, trained=w.trained) for tier, w in fitted.weights.items()})
    cooled = set_temperature(grown, *asked, start=TWO, shares=shares)
    before, after = (how_sure(each, [good, noise], labels, shares) for each in (grown, cooled))
    assert before > 0.08
    assert after == pytest.approx(0, abs=0.03)
    for tier, weight in grown.weights.items():
        assert cooled.weights[tier].untrained / weight.untrained < 0.8
        assert cooled.weights[tier].untrained / weight.untrained == pytest.approx(
            cooled.weights[tier].trained / weight.trained
        )


def test_weights_that_were_learnt_for_trained_functions_are_at_their_temperature():
    labels, good, noise = held_out(2_000)
    asked = (["good", "noise"], [good, noise], labels)
    ones = np.ones(good.shape, np.float32)
    fitted = fit_fusion(*asked, start=TWO, shares=ones)
    for tier, weight in set_temperature(fitted, *asked, start=TWO, shares=ones).weights.items():
        assert weight.trained == pytest.approx(fitted.weights[tier].trained, rel=0.01)


def test_a_functions_weights_go_from_untrained_to_trained_with_its_examples():
    gates = Fusion(weights={"tier": Weight(untrained=1.0, trained=3.0)}).gates(
        np.array([0, 1, 5, 50, 1e6], np.float32)
    )["tier"]
    assert gates[0] == 1
    assert gates[-1] == pytest.approx(3, abs=0.01)
    assert (np.diff(gates) > 0).all()


@pytest.mark.parametrize("fusion", [WORDS, MEANING, TWO, Fusion()])
def test_one_function_weighs_the_tiers_as_it_does_among_many(fusion):
    examples = np.array([0, 1, 5, 50, 1e6], np.float32)
    gates = fusion.gates(examples)
    for position, count in enumerate(examples.tolist()):
        untrained, gained = fusion.ends(list(gates))
        alone = untrained + gained * share_of(count)
        assert alone == pytest.approx(np.array([gate[position] for gate in gates.values()]), abs=1e-6)


@pytest.mark.parametrize("fusion", [WORDS, MEANING, TWO, Fusion()])
def test_a_fusion_is_the_same_after_json(fusion):
    assert Fusion.load(json.loads(json.dumps(fusion.dump()))) == fusion


# --- abstention


def make_signals(n: int, shift: float, seed: int, *, of: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, len(SIGNALS)))
    rows[:, :of] += shift
    rows[:, -2] = 0.7  # a signal that never changes
    rows[:, SIGNALS.index("ruled")] = 0
    return rows


def test_texts_that_can_be_told_apart_are_told_apart():
    inside, outside = make_signals(200, 3, 0, of=3), make_signals(100, -3, 1, of=3)
    abstention = fit_abstention(inside, outside)
    assert min(abstention.in_scope(row) for row in inside) > 0.5
    assert max(abstention.in_scope(row) for row in outside) < 0.5
    assert np.isfinite(abstention.weights).all()


def test_without_a_difference_the_signals_say_what_is_assumed_of_the_texts_in_use():
    for share in (0.2, 0.5, 0.9):
        abstention = fit_abstention(make_signals(2_000, 0, 0), make_signals(500, 0, 1), share=share)
        mean = np.mean([abstention.in_scope(row) for row in make_signals(300, 0, 2)])
        assert mean == pytest.approx(share, abs=0.08)


def test_several_weak_signals_together_tell_more_than_the_best_alone():
    inside, outside = make_signals(500, 0.7, 0, of=5), make_signals(500, -0.7, 1, of=5)
    abstention = fit_abstention(inside, outside)
    right = np.mean(
        [abstention.in_scope(row) > 0.5 for row in inside] + [abstention.in_scope(row) < 0.5 for row in outside]
    )
    alone = np.mean([row[0] > 0 for row in inside] + [row[0] < 0 for row in outside])
    assert right > alone + 0.1


def test_what_words_say_counts_as_far_as_they_are_heard():
    abstention = fit_abstention(make_signals(200, 0, 0), make_signals(200, -1, 1))
    lost = make_signals(1, 0, 2)[0]
    lost[[SIGNALS.index(name) for name in ("words", "coverage", "met", "known_words")]] -= 3
    other = lost.copy()
    other[SIGNALS.index("words")] += 2
    said = [abstention.in_scope(lost, heard=heard) for heard in (0.0, 0.5, 1.0)]
    assert said[0] > said[1] + 0.05 > said[2] + 0.1
    assert said[2] == abstention.in_scope(lost)
    assert abstention.in_scope(other, heard=0.0) == said[0]
    before = lost.tolist()
    abstention.in_scope(lost, heard=0.0)
    assert lost.tolist() == before


def test_one_text_of_each_kind_is_enough_not_to_fail():
    abstention = fit_abstention(make_signals(1, 1, 0), make_signals(1, -1, 1))
    assert 0 < abstention.in_scope(np.zeros(len(SIGNALS))) < 1


def test_in_scope_is_true_where_another_share_of_texts_asks_for_a_function_than_it_was_learnt_with():
    even = fit_abstention(make_signals(2_000, 0, 0), make_signals(500, -1, 1))
    expecting = even.expecting(0.9)
    rows = [*make_signals(1_800, 0, 2), *make_signals(200, -1, 3)]
    said = np.array([expecting.in_scope(row) for row in rows])
    meant = np.arange(len(rows)) < 1_800
    assert said.mean() == pytest.approx(0.9, abs=0.01)
    for low, high in ((0, 0.85), (0.85, 0.95), (0.95, 1)):
        near = (said >= low) & (said < high)
        assert said[near].mean() == pytest.approx(meant[near].mean(), abs=0.04)
    before = np.array([even.in_scope(row) for row in rows])
    assert (np.argsort(before) == np.argsort(said)).all()
    assert before.mean() < 0.7


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=len(SIGNALS), max_size=len(SIGNALS)))
def test_in_scope_is_a_probability_for_any_signals(row):
    for abstention in (WORDS_ABSTENTION, MEANING_ABSTENTION):
        assert 0 <= abstention.in_scope(np.array(row)) <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000))
def test_an_abstention_is_the_same_after_json(seed):
    abstention = fit_abstention(make_signals(20, 1, seed), make_signals(20, -1, seed + 1))
    again = Abstention.load(json.loads(json.dumps(abstention.dump())))
    for row in make_signals(5, 0, seed + 2):
        assert again.in_scope(row) == abstention.in_scope(row)


def test_signals_stored_in_another_order_or_unknown_are_read_by_name():
    stored = MEANING_ABSTENTION.dump()
    for key in ("signals", "weights", "means", "spreads"):
        stored[key] = [*reversed(stored[key]), "of tomorrow" if key == "signals" else 5.0]
    again = Abstention.load(stored)
    assert (again.weights == MEANING_ABSTENTION.weights).all()
    stored = {key: value[:3] if isinstance(value, list) else value for key, value in MEANING_ABSTENTION.dump().items()}
    assert not Abstention.load(stored).weights[3:].any()


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20))
def test_the_energy_is_at_least_the_largest_logit(logits):
    found = energy(np.array(logits, np.float32))
    assert max(logits) - 1e-3 <= found <= max(logits) + np.log(len(logits)) + 1e-3


@pytest.mark.parametrize(
    ("act_at", "ask_at"), [(1.1, 0.2), (-0.1, 0.2), (0.5, 1.5), (float("nan"), 0.2), (0.5, float("nan"))]
)
def test_thresholds_are_probabilities(act_at, ask_at):
    with pytest.raises(ValueError, match="probabilities from 0 to 1"):
        Thresholds(act_at=act_at, ask_at=ask_at)


def test_weights_that_are_held_at_zero_stay_near_it_and_the_bias_is_free():
    inside, outside = make_signals(200, 1, 0), make_signals(200, -1, 1)
    free, held = (fit_abstention(inside, outside, share=0.8, l2=l2) for l2 in (1e-3, 1e4))
    assert np.abs(held.weights).max() < 1e-3 < np.abs(free.weights).max()
    assert held.in_scope(inside[0]) == pytest.approx(0.8, abs=0.01)


def test_a_rule_says_as_much_as_to_the_keyword_selector_and_nothing_that_was_learnt_weakens_it():
    place = SIGNALS.index("ruled")
    inside, outside = make_signals(200, 1, 0), make_signals(200, -1, 1)
    inside[:, place], outside[:, place] = 0, 3
    abstention = fit_abstention(inside, outside)
    assert abstention.weights[place] == 0
    strange = np.full(len(SIGNALS), -5.0)
    strange[place] = 0
    assert abstention.in_scope(strange) < 0.01
    for ruled, least in ((3.0, 0.88), (6.0, 0.99)):
        strange[place] = ruled
        assert least < abstention.in_scope(strange) < least + 0.01
    strange[place] = -3
    assert abstention.in_scope(strange) < 0.01

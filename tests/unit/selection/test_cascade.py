"""All tiers together, over a registry that changes and for callers that may not call everything."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import UnknownFunctionError
from dispatcher.registry.registry import Registry
from dispatcher.selection.card import cards_of
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.scores import ranked
from dispatcher.selection.selection import Decision
from dispatcher.selection.selector import ConversationState, LearningSelector
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.thresholds import Thresholds
from tests.unit.selection.making import (
    DESCRIPTIONS,
    WordByWord,
    add,
    make_meaning,
    make_registry,
    make_two_languages,
    sentences,
    trained,
)

NAMES = tuple(DESCRIPTIONS)
KINDS = ("words", "meaning", "trained words", "trained meaning")


def make_cascade(kind: str = "words", registry: Registry | None = None, **options) -> Cascade:
    """A selector of some kind over the small assistant."""
    with_meaning = "meaning" in kind
    return Cascade(
        make_registry() if registry is None else registry,
        meaning=make_meaning() if with_meaning else None,
        model=trained(with_meaning=with_meaning) if "trained" in kind else None,
        **options,
    )


def right(text: str, function: str, source: str = "ann") -> Feedback:
    return Feedback(text=text, verdict=Verdict.RIGHT, function=function, source=source)


class Broken:
    """An encoder of one's own that gives what is no number."""

    name = "broken/1"
    dimension = 3

    def encode(self, texts):
        return np.full((len(texts), 3), np.nan, dtype=np.float32)


def wrong(text: str, function: str) -> Feedback:
    return Feedback(text=text, verdict=Verdict.WRONG, function=function, source="ann")


def teach(cascade: Cascade, text: str, function: str) -> None:
    """Have two users say the same: then it is known, however odd it is."""
    for source in ("ann", "bob"):
        cascade.learn(right(text, function, source))


def first(selection) -> str:
    return selection.candidates[0].function


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def test_it_is_a_selector_that_learns():
    assert isinstance(make_cascade(), LearningSelector)


def test_candidates_are_ranked_and_their_probabilities_leave_room_for_none_of_these(kind):
    selection = make_cascade(kind).select("count the words of a song for a customer")
    probabilities = [candidate.probability for candidate in selection.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(probability >= 0 for probability in probabilities)
    assert sum(probabilities) == pytest.approx(selection.in_scope, abs=1e-3)
    assert selection.in_scope < 1


@pytest.mark.parametrize(("name", "description"), DESCRIPTIONS.items())
def test_without_any_example_a_functions_own_words_are_enough(name, description):
    selection = make_cascade().select(f"please {description.lower()}")
    assert selection.decision is Decision.ACT
    assert selection.function == name
    assert selection.response == ""


@pytest.mark.parametrize("kind", ["words", "trained words", "trained meaning"])
@pytest.mark.parametrize("text", ["ξένος λόγος", "龘龘龘", "жук"])
def test_a_text_that_shares_nothing_with_any_function_is_answered_with_the_default_response(kind, text):
    selection = make_cascade(kind, default_response="None of my business.").select(text)
    assert selection.decision is Decision.ABSTAIN
    assert selection.function is None
    assert selection.response == "None of my business."
    assert selection.reason


TICKETS = {
    "ticket.open": "Open a support ticket for a customer.",
    "ticket.close": "Close a support ticket of a customer.",
    "ticket.assign": "Assign a support ticket to a colleague.",
}


@pytest.mark.parametrize("kind", ["words", "meaning"])
def test_three_functions_without_an_example_are_enough_to_act_on_clear_requests_and_not_on_others(kind):
    cascade = make_cascade(kind, make_registry(TICKETS))
    for text, function in (
        ("please open a ticket", "ticket.open"),
        ("close the ticket of customer 9", "ticket.close"),
        ("assign this ticket to anna", "ticket.assign"),
    ):
        selection = cascade.select(text)
        assert (selection.decision, selection.function) == (Decision.ACT, function)
    for text in ("is it raining in paris", "who won the match last night", "what should i cook with rice"):
        assert cascade.select(text).decision is Decision.ABSTAIN


def test_between_two_that_are_as_likely_it_asks():
    registry = make_registry({"mail.archive": "Archive the old letters.", "mail.delete": "Delete the old letters."})
    selection = Cascade(registry, thresholds=Thresholds(act_at=0.9, ask_at=0.1)).select("the old letters")
    assert selection.decision is Decision.ASK
    assert selection.function is None
    assert {choice.function for choice in selection.choices} == {"mail.archive", "mail.delete"}
    assert all(choice.function in selection.response for choice in selection.choices)
    assert selection.choices == selection.candidates[:2]


def test_it_asks_about_three_at_most():
    registry = make_registry({f"mail.box_{number}": "Open the old letters." for number in range(5)})
    for text in ("the old letters", ", ".join(registry.names)):
        selection = Cascade(registry, thresholds=Thresholds(act_at=0.9, ask_at=0.1)).select(text)
        assert selection.decision is Decision.ASK
        assert len(selection.candidates) == 5
        assert selection.choices == selection.candidates[:3]
        assert all((c.function in selection.response) == (c in selection.choices) for c in selection.candidates)


def test_it_does_not_ask_about_what_is_far_less_likely_than_the_first():
    selection = Cascade(make_registry(), thresholds=Thresholds(act_at=0.99, ask_at=0.01)).select("weather in a city")
    assert selection.decision is Decision.ASK
    assert [choice.function for choice in selection.choices] == ["weather.forecast"]


def test_an_empty_registry_abstains_and_survives_feedback(kind):
    cascade = make_cascade(kind, Registry())
    for verdict, function in ((Verdict.RIGHT, "gone"), (Verdict.WRONG, "gone"), (Verdict.NOTHING, "")):
        cascade.learn(Feedback(text="some text", verdict=verdict, function=function))
    selection = cascade.select("count the words")
    assert selection.decision is Decision.ABSTAIN
    assert selection.candidates == ()
    assert cascade.explain("count the words") == {}


def test_a_registry_of_one_function_can_be_selected_from(kind):
    cascade = make_cascade(kind, make_registry({"music.play": DESCRIPTIONS["music.play"]}))
    assert cascade.select("play a song of an artist").function == "music.play"


def test_a_matching_rule_says_that_a_function_is_meant(kind):
    """Words that the selector never met are a reason to abstain, unless a person said what they mean."""
    text = "zephyr quux"
    rule = KeywordRule(function="weather.forecast", any_of=("zephyr",), weight=8.0)
    plain, ruled = make_cascade(kind).select(text), make_cascade(kind, rules=[rule]).select(text)
    assert plain.decision is Decision.ABSTAIN
    assert ruled.in_scope > 0.7 > plain.in_scope
    assert ruled.function == "weather.forecast"
    against = KeywordRule(function="weather.forecast", any_of=("zephyr",), weight=-3.0)
    assert make_cascade(kind, rules=[against]).select(text).decision is Decision.ABSTAIN


def test_a_rule_about_an_unknown_function_is_refused():
    with pytest.raises(UnknownFunctionError, match="a KeywordRule names it"):
        Cascade(make_registry(), [KeywordRule(function="gone", any_of=("word",))])


def test_a_rule_speaks_for_its_function(kind):
    texts = ("zephyr, please", "what is a zephyr")
    for text in texts:
        ruled = make_cascade(kind)
        ruled = Cascade(make_registry(), [KeywordRule(function="weather.forecast", any_of=("zephyr",), weight=8.0)])
        assert first(ruled.select(text)) == "weather.forecast"


def test_a_rule_of_another_function_says_nothing_of_the_first_one():
    rules = [
        KeywordRule(function="weather.forecast", any_of=("zephyr",), weight=8.0),
        KeywordRule(function="music.play", any_of=("zephyr",), weight=2.0),
    ]
    snapshot = Cascade(make_registry(), rules)._decider_now().snapshot
    reading = snapshot.read("a zephyr")
    named = {card.name: snapshot.keywords.ruled(reading, place) for place, card in enumerate(snapshot.cards)}
    assert (named["weather.forecast"], named["music.play"], named["text.slugify"]) == (8.0, 2.0, 0)


def test_only_some_tiers_may_be_used():
    cascade = make_cascade(tiers={"lexical"})
    assert cascade.select("count the words of a text").candidates[0].function == "text.count_words"
    assert set(cascade._decider_now().snapshot.gates) == {"lexical"}


def test_shared_words_are_counted_by_the_tiers_for_words_alone_and_a_like_example_beside_them():
    registry = make_registry()
    snapshot = Snapshot(cards_of(registry))
    assert set(snapshot.score(snapshot.read("play a song")).tiers) == {"lexical", "ngrams", "shape"}
    add(registry, "lights.switch", examples=["make it dark in here"])
    snapshot = Snapshot(cards_of(registry))
    likeness = snapshot.score(snapshot.read("please make it dark in the hall")).tiers["keywords"]
    assert int(likeness.argmax()) == snapshot.names["lights.switch"]
    assert likeness[snapshot.names["music.play"]] == 0


def test_thresholds_of_ones_own_win_over_the_models():
    text = "count the words of a text"
    assert make_cascade("trained words", act_at=1.0, ask_at=0.0).select(text).decision is Decision.ASK
    assert make_cascade("trained words", act_at=0.0, ask_at=0.0).select("tell me of words").decision is Decision.ACT
    assert make_cascade(thresholds=Thresholds(act_at=1.0, ask_at=1.0)).select(text).decision is Decision.ABSTAIN


def test_the_encoder_is_loaded_at_the_first_selection_and_once():
    loaded = []

    def load():
        loaded.append(1)
        return make_meaning()

    cascade = Cascade(make_registry(), meaning=load)
    assert loaded == []
    assert cascade.uses_encoder
    cascade.select("count the words")
    add(cascade._registry, "later")
    cascade.select("count the words")
    assert loaded == [1]


def test_equal_selectors_have_equal_fingerprints_and_others_have_not():
    fingerprint = make_cascade().fingerprint
    assert make_cascade().fingerprint == fingerprint
    others = [
        make_cascade("meaning"),
        make_cascade(tiers={"lexical"}),
        make_cascade(act_at=0.9),
        make_cascade(registry=Registry()),
        Cascade(make_registry(), meaning=make_two_languages()),
        Cascade(make_registry(), meaning=make_two_languages(glossary=WordByWord())),
    ]
    assert len({fingerprint, *(other.fingerprint for other in others)}) == 7


# --- the registry changes


def test_a_new_function_is_selectable_at_once_and_without_training(kind):
    cascade = make_cascade(kind)
    text = "reserve a table at a restaurant"
    assert "food.reserve" not in {candidate.function for candidate in cascade.select(text).candidates}
    add(cascade._registry, "food.reserve", "Reserve a table at a restaurant.")
    selection = cascade.select(text)
    assert first(selection) == "food.reserve"
    assert cascade.select("food.reserve").function == "food.reserve"
    assert cascade.select("count the words of a text").candidates[0].function == "text.count_words"


def test_a_removed_function_is_unselectable_at_once_caches_included(kind):
    cascade = make_cascade(kind)
    texts = ("music.play", "play a song of an artist", "known word for word")
    teach(cascade, "known word for word", "music.play")
    for text in texts:
        assert first(cascade.select(text)) == "music.play"
    cascade._registry.remove("music.play")
    for text in texts:
        selection = cascade.select(text)
        assert selection.function != "music.play"
        assert "music.play" not in {candidate.function for candidate in selection.candidates}
        assert cascade.recall("something never asked") is None


def test_a_function_that_comes_back_brings_what_was_learnt(kind):
    cascade = make_cascade(kind)
    teach(cascade, "zany tunes", "music.play")
    cascade._registry.remove("music.play")
    assert cascade.select("zany tunes").function != "music.play"
    add(cascade._registry, "music.play", DESCRIPTIONS["music.play"])
    assert cascade.select("zany tunes").function == "music.play"


@pytest.mark.parametrize("text", ["sing {} songs of harvest moon", "播放{}首歌"])
def test_what_was_learnt_is_read_once_whatever_is_registered_later(text):
    registry, meaning = make_registry(), make_two_languages(glossary=WordByWord())
    cascade = Cascade(registry, meaning=meaning)
    said = [right(text.format(number), "music.play") for number in range(1_200)]
    cascade.use(None, since=said)
    assert {feedback.text for feedback in said} <= set(meaning.encoder.asked)
    add(registry, "food.order", "Order a pizza or another meal.")
    meaning.encoder.asked.clear()
    assert cascade.select("order a pizza").candidates[0].function == "food.order"
    assert len(meaning.encoder.asked) < 10


def test_what_is_about_functions_that_are_not_here_is_not_even_read():
    meaning = make_meaning()
    said = [right("sing a song", "music.sing"), right("order a pizza", "music.play")]
    Cascade(make_registry(), meaning=meaning).use(None, since=said)
    assert "order a pizza" in meaning.encoder.asked
    assert "sing a song" not in meaning.encoder.asked


def test_a_renamed_function_keeps_by_its_alias_what_it_learnt_in_use(kind):
    cascade = make_cascade(kind)
    for _ in range(3):
        teach(cascade, "zany merry melodies", "music.play")
    before = cascade.select("zany melodies").candidates[0]
    assert before.function == "music.play"
    cascade._registry.remove("music.play")
    add(cascade._registry, "audio.start", DESCRIPTIONS["music.play"], aliases=("music.play",))
    after = cascade.select("zany melodies").candidates[0]
    assert after.function == "audio.start"
    assert after.probability == pytest.approx(before.probability, abs=0.3)
    assert cascade.select("zany merry melodies").function == "audio.start"
    assert cascade.select("music.play").function == "audio.start"


@pytest.mark.parametrize("kind", KINDS[2:])
def test_a_renamed_function_keeps_by_its_alias_what_was_trained(kind):
    cascade = make_cascade(kind)
    cascade._registry.remove("music.play")
    add(cascade._registry, "audio.start", "", aliases=("music.play",))
    expected = [e.text for e in sentences(held_out=True) if e.function == "music.play"]
    assert sum(first(cascade.select(text)) == "audio.start" for text in expected) >= 0.75 * len(expected)


# --- whoever may call only some


def test_names_that_can_be_read_once_are_allowed_now_and_in_the_cache(kind):
    cascade = make_cascade(kind)
    once = cascade.select("text.slugify", only=(name for name in ["text.slugify"]))
    again = cascade.select("text.slugify", only={"text.slugify"})
    assert once.function == again.function == "text.slugify"


def test_one_name_alone_is_refused_for_its_letters_are_no_names():
    with pytest.raises(TypeError, match=r"only=\['text.slugify'\]"):
        make_cascade().select("text.slugify", only="text.slugify")


ONLY = st.frozensets(st.sampled_from((*NAMES, "unknown")))
SELECTORS = {kind: make_cascade(kind) for kind in KINDS[:2]}
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(NAMES),
    st.sampled_from(list(DESCRIPTIONS.values())),
    st.lists(st.sampled_from((*DESCRIPTIONS.values(), "and", "then", *NAMES)), max_size=5).map(" ".join),
)


@settings(max_examples=60, deadline=None)
@given(TEXTS, ONLY, st.sampled_from(KINDS[:2]))
def test_nothing_else_than_allowed_is_ever_a_candidate_or_chosen(text, only, kind):
    selection = SELECTORS[kind].select(text, only=only)
    for part in (selection, *selection.parts):
        assert {candidate.function for candidate in part.candidates} <= only
        assert part.function is None or part.function in only
        assert (part.function is not None) == (part.decision is Decision.ACT)
    if not only & set(NAMES):
        assert selection.decision is Decision.ABSTAIN


@pytest.mark.parametrize(
    "text",
    ["music.play", "please music.play something", "`music.play`", "learnt word for word", "play a song of an artist"],
)
def test_what_may_not_be_called_is_not_even_when_it_is_named_or_known(kind, text):
    cascade = make_cascade(kind)
    teach(cascade, "learnt word for word", "music.play")
    assert cascade.select(text).function == "music.play"
    selection = cascade.select(text, only={"text.slugify", "weather.forecast"})
    assert {candidate.function for candidate in selection.candidates} <= {"text.slugify", "weather.forecast"}
    assert selection.function is None


def test_allowing_nothing_abstains_and_says_why(kind):
    selection = make_cascade(kind).select("count the words of a text", only=())
    assert selection.decision is Decision.ABSTAIN
    assert selection.candidates == ()
    assert "may be selected" in selection.reason


def test_allowing_an_alias_allows_its_function():
    registry = make_registry()
    add(registry, "audio.start", "Begin to sing.", aliases=("sing",))
    assert Cascade(registry).select("audio.start", only={"sing"}).function == "audio.start"


# --- learning


def test_what_a_user_says_is_known_to_the_very_next_selection(kind):
    cascade, text = make_cascade(kind), "do the usual thing"
    cascade.select(text)
    teach(cascade, text, "mail.send_invoice")
    selection = cascade.select(text)
    assert selection.function == "mail.send_invoice"
    assert selection.reason == "known word for word"
    assert cascade.select(" Do the USUAL thing!").function == "mail.send_invoice"


def test_what_one_user_said_decides_for_that_user_only():
    cascade, text = make_cascade("trained words"), "count the words of my essay, please"
    for _ in range(2):
        cascade.learn(right(text, "music.play", "eve"))
    assert cascade.select(text, ConversationState(user="eve")).function == "music.play"
    assert cascade.select(text, ConversationState(user="ann")).reason != "known word for word"
    assert cascade.select(text).reason != "known word for word"
    assert cascade.select(text, ConversationState(user="eve")).reason == "known word for word"


def test_a_guess_that_was_only_inferred_is_not_taken_word_for_word():
    cascade = make_cascade()
    cascade.learn(Feedback(text="do the usual thing", verdict=Verdict.RIGHT, function="music.play", weight=0.3))
    assert cascade.select("do the usual thing").reason != "known word for word"


def test_a_known_text_that_turns_out_wrong_is_known_no_more(kind):
    cascade, text = make_cascade(kind), "do the usual thing"
    teach(cascade, text, "mail.send_invoice")
    cascade.learn(wrong(text, "mail.send_invoice"))
    assert cascade.select(text).reason != "known word for word"


def test_a_wrong_about_another_function_leaves_a_known_text_known():
    cascade, text = make_cascade(), "do the usual thing"
    teach(cascade, text, "mail.send_invoice")
    cascade.learn(wrong(text, "music.play"))
    assert cascade.select(text).function == "mail.send_invoice"


def test_a_text_that_nothing_fits_is_acted_on_no_more(kind):
    cascade, text = make_cascade(kind), "do the usual thing"
    teach(cascade, text, "mail.send_invoice")
    for source in ("ann", "bob"):
        cascade.learn(Feedback(text=text, verdict=Verdict.NOTHING, source=source))
    assert cascade.select(text).function is None


def test_a_model_taken_into_use_forgets_what_was_learnt_before_except_what_it_is_given():
    cascade = make_cascade()
    teach(cascade, "zany tunes", "music.play")
    cascade.use(trained())
    assert cascade.version == trained().version
    assert cascade.select("zany tunes").reason != "known word for word"
    cascade.use(trained(), since=[right("zany tunes", "text.slugify", source) for source in ("ann", "bob")])
    assert cascade.select("zany tunes").function == "text.slugify"
    cascade.use(None)
    assert cascade.model is None
    assert cascade.select("zany tunes").reason != "known word for word"


def test_two_selectors_that_learn_the_same_select_the_same(kind):
    feedback = [
        right("zany tunes", "music.play"),
        wrong("zany words", "music.play"),
        right("merry words", "text.slugify"),
    ]
    one, other = make_cascade(kind), make_cascade(kind)
    for said in feedback:
        one.learn(said)
        one.select("zany words")
    other.use(other.model, since=feedback)
    for text in ("zany merry tunes", "words", "count the tunes"):
        mine, yours = one.select(text), other.select(text)
        assert [c.function for c in mine.candidates] == [c.function for c in yours.candidates]
        assert mine.candidates[0].probability == pytest.approx(yours.candidates[0].probability, abs=1e-4)


def test_what_was_called_before_in_this_conversation_counts():
    cascade = make_cascade()
    state = ConversationState(topic="party")
    for text in ("that again", "the same", "more of it", "once more", "as before", "another"):
        cascade.learn(Feedback(text=text, verdict=Verdict.RIGHT, function="music.play", topic="party"))
        cascade.learn(Feedback(text=text, verdict=Verdict.RIGHT, function="mail.send_invoice", topic="work"))
    text = "please proceed now"
    probability = {c.function: c.probability for c in cascade.select(text, state).candidates}
    assert probability["music.play"] > probability["mail.send_invoice"]
    assert cascade.select(text).candidates != cascade.select(text, state).candidates


def test_many_threads_may_select_and_learn_at_once():
    cascade, failures = make_cascade(), []

    def work(number: int) -> None:
        try:
            for turn in range(15):
                cascade.learn(right(f"unheard of word{'abc'[turn % 3]} {'xyz'[number]}", NAMES[number]))
                for candidate in cascade.select(f"count the words {number} {turn}").candidates:
                    assert candidate.why
        except Exception as error:  # noqa: BLE001 - looked at below, in the thread that may fail
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- Chinese


CHINESE = {"text.count": "统计一段文字的字数。", "weather": "查询某个城市的天气预报。", "mail.send": "给客户发送邮件。"}


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("帮我统计这段文字有多少字数", "text.count"),
        ("北京明天的天气预报", "weather"),
        ("请发送一封邮件给王先生", "mail.send"),
    ],
)
def test_a_chinese_request_finds_a_chinese_description(text, function):
    selection = Cascade(make_registry(CHINESE)).select(text)
    assert first(selection) == function
    assert selection.function in {function, None}


def test_what_is_learnt_in_chinese_is_found_in_other_words():
    cascade = Cascade(make_registry(CHINESE))
    teach(cascade, "外面会不会下雨", "weather")
    assert first(cascade.select("今天会下雨吗")) == "weather"


def test_a_chinese_text_that_nothing_fits_is_answered_in_chinese():
    selection = Cascade(make_registry(CHINESE)).select("唱首歌")
    assert selection.decision is Decision.ABSTAIN
    assert "抱歉" in selection.response


def test_a_tier_that_there_is_not_is_told_with_those_that_there_are():
    with pytest.raises(ValueError, match="no tier is called lexica; there are lexical, "):
        Cascade(Registry(), tiers=["lexica"])


@pytest.mark.parametrize("size", [3, 10, 11, 200, 600])
def test_the_likeliest_come_first_and_what_may_not_be_selected_is_left_out(size):
    logs = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    logs[:2] = 5.0
    expected = np.lexsort((np.arange(size), -logs))[:10].tolist()
    assert ranked(logs, 10) == expected
    logs[expected[2:]] = -np.inf
    assert ranked(logs, 10)[:2] == expected[:2]
    assert all(logs[place] > -np.inf for place in ranked(logs, 10))
    logs[:] = -np.inf
    assert ranked(logs, 10) == ranked(logs[:0], 10) == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_vectors_that_are_no_numbers_call_nothing() -> None:
    cascade = Cascade(make_registry(), meaning=Meaning(Broken(), np.zeros(3, dtype=np.float32)))
    assert {cascade.select(text).decision for text in ("wake me up at seven", "play some jazz")} == {Decision.ABSTAIN}

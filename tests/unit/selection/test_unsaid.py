import numpy as np
import pytest

from dispatcher.selection import rehearsal as rehearsing
from dispatcher.selection.embedding import Embedding
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.judgement import gradient_of
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.rehearsal import Rehearsal
from dispatcher.selection.snapshot import Snapshot
from dispatcher.selection.unsaid import FAVOUR, FIRST, MOST_WORTH, Unsaid, beliefs, share_out, spread
from tests.unit.selection.making import WordByWord, make_cards, make_meaning, make_two_languages

NEW = "kindly handle the usual business"


def say(snapshot: Snapshot, text: str, function: str, verdict: Verdict = Verdict.RIGHT) -> None:
    snapshot.learn(Feedback(text=text, verdict=verdict, function=function))


def favour_of(unsaid: Unsaid, examples: list[float], logits: list[float]) -> np.ndarray:
    unsaid.weigh(np.array(examples, np.float32))
    favour = unsaid.favour(np.array(logits, np.float32))
    assert favour is not None
    return favour


def test_nothing_is_favoured_where_the_right_function_was_always_told():
    unsaid = Unsaid(3)
    for _ in range(100):
        unsaid.add(0, 1.0, right=True)
    assert unsaid.share == 0
    unsaid.weigh(np.zeros(3, np.float32))
    assert unsaid.favour(np.zeros(3, np.float32)) is None


def test_functions_of_few_examples_are_favoured_the_more_so_the_more_was_left_unsaid():
    unsaid, shares = Unsaid(4), []
    for _ in range(3):
        unsaid.add(3, 10.0, right=False)
        favour = favour_of(unsaid, [0, 3, 99, 0], [0, 0, 0, 0])
        assert favour[0] > favour[1] > favour[2] > 0
        shares.append(favour[0])
    assert shares[0] < shares[1] < shares[2]


def test_a_function_is_tried_where_nothing_fits_and_hardly_where_another_does():
    unsaid = Unsaid(4)
    unsaid.add(3, 10.0, right=False)
    gains = [np.ptp(favour_of(unsaid, [0, 50, 50, 2], [0, first, 0, 0])) for first in (0.0, 2.0, 9.0)]
    assert gains[0] > gains[1] > gains[2]
    assert gains[2] < FAVOUR


def test_each_trial_that_is_wrong_makes_the_next_less_likely():
    unsaid, gains = Unsaid(2), []
    unsaid.add(1, 1e6, right=False)  # the share stays as it is
    for _ in range(3):
        gains.append(favour_of(unsaid, [0, 2], [0, 0])[0])
        unsaid.add(0, 1.0, right=False)
    assert gains[0] > gains[1] > gains[2]


def test_functions_are_tried_as_far_as_others_of_few_examples_are_in_use():
    unsaid = Unsaid(4)
    unsaid.add(3, 10.0, right=False)
    gains = [favour_of(unsaid, [0, *others], [0, 0, 0, 0])[0] for others in ([1, 2, 4], [0, 2, 50], [0, 0, 50])]
    assert gains[0] > gains[1] > gains[2]
    assert gains[2] == pytest.approx(FAVOUR * unsaid.share)
    assert favour_of(unsaid, [9, 50, 50, 50], [0, 0, 0, 0]).max() < FAVOUR


def test_a_text_confirmed_in_doubt_stands_for_several_the_more_so_the_more_was_left_unsaid():
    unsaid, worths = Unsaid(2), []
    for _ in range(3):
        worths.append(unsaid.worth(np.log(0.3)))
        assert unsaid.worth(np.log(0.9)) <= worths[-1]
        unsaid.add(0, 10.0, right=False)
    assert worths[0] == 1
    assert worths[0] < worths[1] < worths[2]
    assert unsaid.worth(np.log(1e-9)) == MOST_WORTH


def test_the_gradient_of_wrong_is_what_finite_differences_say():
    logits = np.array([0.5, 1.0, -0.3, 0.1])
    believed = beliefs(np.full((1, 4), 0.25, np.float32), np.array([1]), np.array([[0, 5, 8, 0]], np.float32))

    def loss(of: np.ndarray) -> float:
        p = np.exp(of) / np.exp(of).sum()
        return float(-(1 - FIRST) * np.log(1 - p[1]))

    p = (np.exp(logits) / np.exp(logits).sum()).astype(np.float32)
    gradient = spread(p[None], np.array([1]), np.array([False]), believed)[0]
    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-5
        pushed = (loss(logits + step) - loss(logits - step)) / 2e-5
        pulled = FIRST * p[1] * (float(i == 1) - float(believed[0, i]))
        assert gradient[i] == pytest.approx(pushed + pulled, abs=1e-3)
    assert gradient.sum() == pytest.approx(0, abs=1e-5)


def test_what_a_wrong_function_lacks_goes_to_those_of_few_examples_that_were_thought_of_first():
    gradient = share_out({0: 0.6, 1: -0.6}, 0, np.array([0, 1, 2]), np.array([0, 0.1, 0.9], np.float32))
    assert gradient[0] == 0.6
    assert gradient[2] < gradient[1] < 0
    assert sum(gradient.values()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("encoded", [False, True])
def test_a_wrong_function_gives_most_to_the_one_that_was_thought_of_first(encoded):
    """What others were right for has pushed it down since, below a function that was confirmed often."""
    text = "play a song of an artist"
    snapshot = Snapshot(make_cards(), meaning=make_meaning() if encoded else None)
    played, slugged, translated = (snapshot.names[n] for n in ("music.play", "text.slugify", "text.translate"))
    for _ in range(10):
        say(snapshot, text, "text.slugify")
        say(snapshot, text, "text.translate")
    say(snapshot, text, "text.slugify")
    before = snapshot.score(snapshot.read(text))
    assert before.logs[translated] > before.logs[played]
    say(snapshot, text, "text.slugify", Verdict.WRONG)
    gained = snapshot.score(snapshot.read(text)).logs - before.logs
    assert gained.argmax() == played
    assert gained[slugged] < 0


def test_how_often_functions_were_confirmed_says_less_the_more_was_left_unsaid():
    snapshot = Snapshot(make_cards())
    for _ in range(20):
        say(snapshot, "tunes", "music.play")
    before = np.ptp(snapshot.score(snapshot.read(NEW)).tiers["prior"])
    for _ in range(20):
        say(snapshot, "drizzle", "text.slugify", Verdict.WRONG)
    assert np.ptp(snapshot.score(snapshot.read(NEW)).tiers["prior"]) < before / 2


# --- rehearsal


def make_doubted(meaning: Meaning | None = None) -> Snapshot:
    """Something was said to be wrong already: texts of before are learnt again."""
    snapshot = Snapshot(make_cards(), meaning=meaning or make_meaning())
    say(snapshot, "drizzle", "text.slugify", Verdict.WRONG)
    return snapshot


def test_a_text_of_before_is_learnt_again_with_another(monkeypatch):
    gained = []
    for again in (0, 4):
        each = make_doubted()
        monkeypatch.setattr(rehearsing, "AGAIN", again)
        say(each, NEW, "mail.send_invoice")
        say(each, "zany tunes", "music.play")
        gained.append(float(each.embedding.logits(each.embedding.meaning.request(NEW))[3]))
    assert gained[1] > gained[0]


def logit_after(verdict: Verdict, *, again: bool) -> float:
    """Of a text's function, that was judged and, where it is of before, learnt again with another."""
    each = Snapshot(make_cards(), meaning=make_meaning())
    each.unsaid.add(0, 1.0, right=False)
    say(each, NEW, "mail.send_invoice", verdict)
    if again:
        say(each, "zany tunes", "music.play")
    return float(each.embedding.logits(each.embedding.meaning.request(NEW))[3])


@pytest.mark.parametrize(
    ("counts", "verdict", "again", "moves"),
    [
        ("CONFIRMED", Verdict.RIGHT, True, 1),
        ("CONFIRMED", Verdict.RIGHT, False, 0),
        ("CONFIRMED", Verdict.WRONG, True, 0),
        ("DENIED", Verdict.WRONG, True, -1),
        ("DENIED", Verdict.WRONG, False, 0),
    ],
)
def test_what_was_confirmed_and_what_was_wrong_count_apart_once_they_are_of_before(
    counts, verdict, again, moves, monkeypatch
):
    logits = []
    for much in (0.2, 3.0):
        monkeypatch.setattr(rehearsing, counts, much)
        logits.append(logit_after(verdict, again=again))
    assert np.sign(logits[1] - logits[0]) == moves


def test_what_was_known_moves_no_weight():
    snapshot = make_doubted()
    for _ in range(30):
        say(snapshot, NEW, "mail.send_invoice")
    head = snapshot.embedding.head.copy()
    say(snapshot, NEW, "mail.send_invoice")
    assert (snapshot.embedding.head == head).all()


@pytest.mark.parametrize("came_first", [True, False])
def test_a_text_counts_more_where_its_function_was_confirmed_in_doubt_not_where_it_was_told(came_first, monkeypatch):
    gained = []
    for most in (1.0, 3.0):
        monkeypatch.setattr("dispatcher.selection.unsaid.MOST_WORTH", most)
        monkeypatch.setattr(rehearsing, "AGAIN", 0)
        each = make_doubted()
        logs = each.score(each.read(NEW)).logs
        position = int(logs.argmax() if came_first else logs.argmin())
        vector = each.embedding.meaning.request(NEW)
        before = each.embedding.logits(vector)[position]
        say(each, NEW, each.cards[position].name)
        gained.append(float(each.embedding.logits(vector)[position] - before))
    assert gained[0] > 0
    assert (gained[1] > gained[0]) == came_first


def test_who_always_tells_the_right_function_does_not_wait_for_what_is_left_unsaid(monkeypatch):
    snapshot, plain = (Snapshot(make_cards(), meaning=make_meaning()) for _ in range(2))
    monkeypatch.setattr("dispatcher.selection.snapshot.judge", None)
    monkeypatch.setattr(Rehearsal, "learn", None)
    texts = ["zany tunes", NEW, "drizzle"]
    for text in texts:
        logs = snapshot.score(snapshot.read(text)).logs
        plain.embedding.learn(plain.read(text).vector, gradient_of(logs, 3, right=True))
        say(snapshot, text, "mail.send_invoice")
        assert (snapshot.embedding.head == plain.embedding.head).all()
    assert len(snapshot.rehearsal) == 0


def test_texts_learnt_together_are_learnt_as_one_by_one():
    one, all_at_once = (Embedding(make_cards(), make_two_languages()) for _ in range(2))
    vectors = one.meaning.requests(["zany tunes", "播放一首歌"])
    for vector, by_logit in zip(vectors, ({0: 0.5, 2: -0.5}, {2: 0.25, 5: -0.5}), strict=True):
        one.learn(vector, by_logit)
    gradient = np.array([[0.5, -0.5], [0.25, -0.5]], np.float32)
    all_at_once.learn_together(vectors, np.array([[0, 2], [2, 5]]), gradient)
    for vector, foreign in zip(vectors, (False, True), strict=True):
        expected = one.logits(vector, foreign=foreign)
        assert all_at_once.logits(vector, foreign=foreign) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("glossary", [None, WordByWord()], ids=["alone", "glossed"])
@pytest.mark.parametrize("small", [0, 8])
def test_each_text_has_the_logits_of_the_head_of_its_language(small, glossary, monkeypatch):
    monkeypatch.setattr("dispatcher.selection.embedding.SMALL", small)
    embedding = Embedding(make_cards(), make_two_languages(glossary=glossary))
    vectors = embedding.meaning.requests(["zany tunes", "播放一首歌"])
    embedding.learn(vectors[0], {0: 0.5, 2: -0.5})
    candidates = np.array([[0, 2], [2, 5]])
    found = embedding.logits_among(vectors, candidates, np.array([False, True]))
    for vector, foreign, own, logits in zip(vectors, (False, True), candidates, found, strict=True):
        assert logits == pytest.approx(embedding.logits(vector, foreign=foreign)[own], abs=1e-4)


def test_a_foreign_text_of_before_is_learnt_again_with_another(monkeypatch):
    text, gained = "播放一首歌", []
    for again in (0, 4):
        each = make_doubted(make_two_languages())
        monkeypatch.setattr(rehearsing, "AGAIN", again)
        say(each, text, "mail.send_invoice")
        say(each, "zany tunes", "music.play")
        gained.append(float(each.embedding.logits(each.embedding.meaning.request(text), foreign=True)[3]))
    assert gained[1] > gained[0]


@pytest.mark.parametrize("glossary", [None, WordByWord()], ids=["alone", "glossed"])
@pytest.mark.parametrize(("text", "foreign"), [("play a song", False), ("播放一首歌", True)])
def test_what_was_thought_of_a_text_first_is_what_its_starting_head_says(text, foreign, glossary):
    embedding = Embedding(make_cards(), make_two_languages(glossary=glossary))
    vector = embedding.meaning.request(text)
    before = embedding.logits(vector, foreign=foreign)
    embedding.learn(vector, {0: -0.9, 1: 0.9})
    assert embedding.first_logits(vector, foreign=foreign) == pytest.approx(before, abs=1e-4)


def test_equal_feedback_in_equal_order_teaches_two_selectors_the_same():
    heads = []
    for _ in range(2):
        each = Snapshot(make_cards(), meaning=make_meaning())
        for number in range(20):
            verdict = Verdict.WRONG if number % 3 else Verdict.RIGHT
            say(each, f"request {chr(97 + number)}", each.cards[number % 6].name, verdict)
        heads.append(each.embedding.head)
    assert (heads[0] == heads[1]).all()


def test_what_is_kept_is_bounded_and_the_newest_takes_the_place_of_the_oldest(monkeypatch):
    monkeypatch.setattr(rehearsing, "MAX_TEXTS", 8)
    each = make_doubted()
    for number in range(30):
        say(each, f"request {chr(97 + number % 26)}", each.cards[number % 6].name)
    assert isinstance(each.rehearsal, Rehearsal)
    assert len(each.rehearsal) == 8
    assert len(each.rehearsal._vectors) == 8
    assert np.isfinite(each.embedding.head).all()


def test_candidates_are_few_in_a_large_registry_and_the_judged_one_is_among_them(monkeypatch):
    monkeypatch.setattr("dispatcher.selection.judgement.WHOLE", 0)
    monkeypatch.setattr("dispatcher.selection.judgement.MAX_CANDIDATES", 2)
    monkeypatch.setattr("dispatcher.selection.embedding.SMALL", 0)
    monkeypatch.setattr(rehearsing, "AGAIN", 0)
    each = make_doubted()
    vector = each.embedding.meaning.request(NEW)
    before = each.embedding.logits(vector)
    unlikeliest = int(each.score(each.read(NEW)).fused.argmin())
    say(each, NEW, each.cards[unlikeliest].name)
    gained = each.embedding.logits(vector) - before
    assert gained[unlikeliest] > 0
    assert (gained != 0).sum() <= 2

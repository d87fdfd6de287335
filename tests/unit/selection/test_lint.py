import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.selection.card import Card, cards_of
from dispatcher.selection.lint import find_faults, find_lookalikes
from tasks import registry as catalogue


def card(name: str, description: str = "", *, examples: tuple[str, ...] = (), **more: object) -> Card:
    return Card(name=name, description=description, examples=examples, **more)


OTHERS = (
    card("mail.send_invoice", "Email an invoice to a customer."),
    card("dates.timer", "Start a countdown that answers when it ends."),
    card("data.parse_csv", "Parse a CSV text into records."),
)


def names(found):
    return [(pair.first, pair.second) for pair in found]


# --- by description


def test_functions_that_say_the_same_look_alike_and_the_words_that_differ_are_named():
    cards = (
        card("find_user", "Look up the account, profile and history of a user by address in the customer database."),
        card("get_user", "Look up the account, profile and history of a user by phone in the customer database."),
        *OTHERS,
    )
    (pair,) = find_lookalikes(cards)
    assert (pair.first, pair.second) == ("find_user", "get_user")
    assert 0.7 <= pair.likeness < 1
    assert "alike" in pair.why
    assert pair.only_first == ("find", "address")
    assert pair.only_second == ("phone",)
    assert pair.apart == ("find", "address", "phone")
    assert pair.advice == (
        "say in both descriptions when to use which: only “find_user” speaks of find and address, only “get_user” of phone"
    )


def test_functions_that_say_in_name_and_description_what_tells_them_apart_do_not_look_alike():
    cards = (
        card("store.find_nearby", "Locate nearby stores by preferences such as pet-friendly or accessible."),
        card("library.find_nearby", "Locate nearby libraries by preferences such as pet-friendly or accessible."),
        *OTHERS,
    )
    assert find_lookalikes(cards) == ()


def test_one_name_alone_does_not_tell_two_functions_apart():
    cards = (
        card("currency.exchange", "Exchange a value in one currency for another currency."),
        card("exchange_money", "Exchange a value in one currency for another currency, cheaply."),
        *OTHERS,
    )
    assert names(find_lookalikes(cards)) == [("currency.exchange", "exchange_money")]


def test_equal_descriptions_look_alike_whatever_the_names():
    cards = (card("alpha", "Do the work of the day."), card("beta", "do the  work of the day"), *OTHERS)
    (pair,) = find_lookalikes(cards)
    assert pair.likeness == 1.0
    assert "descriptions are the same" in pair.why
    assert pair.advice.endswith("only “alpha” speaks of alpha, only “beta” of beta")


def test_where_no_word_tells_them_apart_the_advice_says_so():
    (pair,) = find_lookalikes([card("count.words", "Count words."), card("words_count", "Count words."), *OTHERS])
    assert pair.apart == ()
    assert pair.advice.startswith("no word tells them apart")


def test_where_only_one_has_words_of_its_own_those_are_named():
    cards = (card("geometry.circle", "The area of a circle."), card("circle", "The area of a circle."), *OTHERS)
    (pair,) = find_lookalikes(cards)
    assert pair.advice == "say in both descriptions when to use which: only “geometry.circle” speaks of geometry"


def test_words_that_many_functions_have_tell_nothing_apart():
    cards = (
        card("rates.get", "Get the exchange rate of one currency to another, if given."),
        card("exchange_rates", "Get the exchange rate of one currency to another on Tuesday."),
        *(card(f"other.{chr(97 + i) * 4}", f"Do {chr(97 + i) * 5}, if given.") for i in range(20)),
    )
    (pair,) = find_lookalikes(cards)
    assert pair.apart == ("tuesday",)


def test_empty_descriptions_are_not_equal_ones():
    assert find_lookalikes([card("alpha"), card("beta"), card("gamma", "  "), card("delta", "  ")]) == ()


def test_nothing_at_all_is_fine():
    assert find_lookalikes([]) == ()
    assert find_lookalikes([card("alone", "Alone.")]) == ()
    assert find_lookalikes([card("x", "!!!"), card("y", "???"), card("q", "!!!")]) == ()


def test_chinese_descriptions_are_compared_and_their_words_are_named_whole():
    cards = (
        card("stats.first", "统计一段文章里面的单词数量并返回结果给调用者"),
        card("stats.second", "统计一段文章里面的句子数量并返回结果给调用者"),
        card("mail.send", "给客户发送电子邮件"),
        card("file.zip", "压缩文件夹"),
    )
    (pair,) = find_lookalikes(cards)
    assert pair.likeness < 1
    assert pair.only_first[0] == "first"
    assert "单词" in pair.only_first
    assert "句子" in pair.only_second


# --- by example


def test_one_example_in_two_functions_is_named_and_one_of_them_should_lose_it():
    cards = (
        card("alpha", "Greet the visitor.", examples=("good morning", "say hello to Ann")),
        card("beta", "Call a cab.", examples=("take me home", "Say hello to Ann!")),
    )
    (pair,) = find_lookalikes(cards)
    assert pair.likeness == 1.0
    assert pair.example == "say hello to Ann"
    assert pair.why == "both give the example “say hello to Ann”"
    assert pair.advice.startswith("give the example “say hello to Ann” to one of them; say in both")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("convert miles into kilometers", "Please convert kilometers to miles"),
        ("what can you do?", "What can you do?"),
        ("统计字数", "统计字数！"),
    ],
)
def test_the_same_words_in_another_order_are_the_same_example(one, other):
    cards = (card("alpha", "A thing.", examples=(one,)), card("beta", "Of beauty.", examples=(other,)))
    assert names(find_lookalikes(cards)) == [("alpha", "beta")]


def test_examples_that_differ_in_a_word_are_two():
    cards = (
        card("alpha", "A thing.", examples=("how many words are in this text",)),
        card("beta", "Of beauty.", examples=("how many lines are in this text",)),
    )
    assert find_lookalikes(cards) == ()


def test_an_example_given_twice_by_one_function_is_no_pair():
    assert find_lookalikes([card("alpha", "A thing.", examples=("go on", "go on"))]) == ()


# --- by confusion


def test_functions_that_were_confused_look_alike_by_the_part_of_their_texts():
    confusion = {
        ("mail.send_invoice", "mail.send_invoice"): 30,
        ("dates.timer", "dates.timer"): 10,
        ("mail.send_invoice", "dates.timer"): 6,
        ("dates.timer", "mail.send_invoice"): 4,
        ("dates.timer", ""): 5,
        ("", "dates.timer"): 7,
        ("gone.away", "dates.timer"): 7,
        ("dates.timer", "gone.away"): 5,
    }
    (pair,) = find_lookalikes(OTHERS, confusion=confusion)
    assert (pair.first, pair.second) == ("dates.timer", "mail.send_invoice")
    assert pair.likeness == pytest.approx(10 / 60, abs=1e-4)
    assert pair.why == "10 texts of one went to the other (17%)"
    assert "invoice" in pair.only_second


def test_confusion_is_counted_by_aliases_too():
    cards = (card("new.name", "One.", aliases=("old",)), *OTHERS)
    found = find_lookalikes(cards, confusion={("old", "dates.timer"): 1, ("dates.timer", "new.name"): 1})
    assert names(found) == [("dates.timer", "new.name")]


@pytest.mark.parametrize(
    "confusion",
    [
        {("dates.timer", "mail.send_invoice"): 1},
        {("dates.timer", "mail.send_invoice"): 4, ("dates.timer", "dates.timer"): 96},
        {("dates.timer", "dates.timer"): 96},
        {("dates.timer", "mail.send_invoice"): 0},
        {},
    ],
)
def test_a_few_mistakes_are_chance(confusion):
    assert find_lookalikes(OTHERS, confusion=confusion) == ()


# --- what always holds

TEXTS = st.lists(
    st.sampled_from(["count", "words", "lines", "send", "invoice", "the", "user", "统计", "字数", "!", "Ünï", "42"]),
    max_size=6,
).map(" ".join)
CARDS = st.lists(
    st.builds(
        lambda number, description, examples, parameters: Card(
            name=f"f{number}.{'abcdefghij'[number]}",
            description=description,
            examples=tuple(examples),
            parameters=tuple(parameters),
        ),
        st.integers(0, 9),
        TEXTS | st.text(max_size=20),
        st.lists(TEXTS, max_size=2),
        st.lists(st.tuples(st.sampled_from(["text", "user_id"]), TEXTS), max_size=2),
    ),
    max_size=10,
    unique_by=lambda made: made.name,
)


@given(CARDS, st.randoms(use_true_random=False))
def test_a_pair_is_found_once_in_any_order_and_never_with_itself(cards, rnd: random.Random):
    confusion = {(one.name, other.name): rnd.randint(0, 5) for one in cards for other in cards}
    found = find_lookalikes(cards, confusion=confusion)
    shuffled = list(cards)
    rnd.shuffle(shuffled)
    assert find_lookalikes(shuffled, confusion=confusion) == found
    assert len(set(names(found))) == len(found)
    known = {made.name for made in cards}
    for pair in found:
        assert pair.first < pair.second
        assert {pair.first, pair.second} <= known
        assert 0 < pair.likeness <= 1
        assert not set(pair.only_first) & set(pair.only_second)
        assert pair.why
        assert pair.advice
    assert [pair.likeness for pair in found] == sorted((pair.likeness for pair in found), reverse=True)


@given(CARDS)
def test_the_quick_way_finds_what_comparing_all_with_all_finds(cards):
    from itertools import combinations

    from dispatcher.selection.lint import ALIKE, _Vocabulary

    known = [made for made in cards if made.description.strip()]
    vocabulary = _Vocabulary(known)
    quick = {pair for pair, _ in vocabulary.alike()}
    for pair in combinations(range(len(known)), 2):
        cosine = vocabulary._cosine(pair)
        if abs(cosine - ALIKE) > 1e-9 and vocabulary.vectors[pair[0]] != vocabulary.vectors[pair[1]]:
            # Of functions with the very same words, one is compared with the rest.
            twins = sum(
                vector in (vocabulary.vectors[pair[0]], vocabulary.vectors[pair[1]]) for vector in vocabulary.vectors
            )
            if twins == 2:
                assert (pair in quick) == (cosine > ALIKE and not vocabulary._tell_themselves_apart(pair))


# --- a catalogue, and many functions


def test_the_functions_of_this_deployment_neither_look_alike_nor_have_faults():
    cards = cards_of(catalogue)
    assert find_lookalikes(cards) == ()
    assert find_faults(cards) == ()


def many(count: int) -> list[Card]:
    rnd = random.Random(7)
    syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
    vocabulary = ["".join(rnd.choices(syllables, k=3)) for _ in range(5_000)]
    frequency = [1 / (rank + 10) for rank in range(len(vocabulary))]
    said = [rnd.choices(vocabulary, frequency, k=25) for _ in range(count)]
    return [card(f"{w[0]}.{w[1]}_x{i}", " ".join(w[2:18]), examples=(" ".join(w[18:]),)) for i, w in enumerate(said)]


def test_thousands_of_functions_take_about_a_second_and_the_pair_among_them_is_found():
    cards = [
        *many(5_000),
        card("zz.one", "Frobnicate the gizmos of Oslo."),
        card("zz.two", "Frobnicate gizmos of Oslo."),
    ]
    begun = time.process_time()
    found = find_lookalikes(cards)
    assert time.process_time() - begun < 5
    assert ("zz.one", "zz.two") in names(found)


@pytest.mark.parametrize("description", ["Do the work number {} of the system.", "Do the work of the system."])
def test_thousands_of_copies_cost_no_more_and_only_so_many_pairs_are_given(description):
    cards = [card(f"crm.tool_{i}", description.format(i), examples=("do it",)) for i in range(5_000)]
    begun = time.process_time()
    assert len(find_lookalikes(cards)) == 1_000
    assert len(find_lookalikes(cards[:100], most=7)) == 7
    assert time.process_time() - begun < 5


# --- single functions


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (card("text.count"), "neither description nor example"),
        (card("text.count", " \n"), "neither description nor example"),
        (card("text.count", examples=("count it",)), "no description"),
        (card("text.count_words", "Count words."), "its name over again"),
        (card("text.count_words", "Text: count the words"), "its name over again"),
        (card("RestaurantBookingTool", "Restaurant booking tool"), "its name over again"),
    ],
)
def test_a_function_that_says_too_little_is_a_fault(made, problem):
    (fault,) = find_faults([made, *OTHERS])
    assert fault.function == made.name
    assert problem in fault.problem
    assert fault.advice


@pytest.mark.parametrize("description", ["Send a mail.", "Count the words of a text.", "发送邮件", "!"])
def test_a_short_description_is_no_fault(description):
    assert find_faults([card("mail.send", description)]) == ()

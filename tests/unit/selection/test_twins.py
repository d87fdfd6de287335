"""Versions of one function, for callers that may not call all of them; and functions that only look like versions."""

from collections.abc import Sequence

import pytest

from dispatcher.registry.registry import Registry
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.rules import KeywordRule
from dispatcher.selection.selection import Decision
from tests.unit.selection.making import DESCRIPTIONS, add, make_meaning

SEND = "Email an invoice to a customer."
ASKED = "email an invoice to customer 7"


def make_cascade(*functions: tuple[str, str], with_meaning: bool = False, rules: Sequence[KeywordRule] = ()) -> Cascade:
    """A selector over the small assistant, its invoices left out, and some functions more: names and descriptions."""
    registry = Registry()
    others = [(name, said) for name, said in DESCRIPTIONS.items() if name != "mail.send_invoice"]
    for name, said in (*others, *functions):
        add(registry, name, said)
    return Cascade(registry, rules, meaning=make_meaning() if with_meaning else None)


def assert_nothing_is_handed_over(cascade: Cascade, text: str, allowed: str) -> None:
    """A function is as probable where it alone may be called as where all may be."""
    probable = {candidate.function: candidate.probability for candidate in cascade.select(text).candidates}
    selection = cascade.select(text, only=[allowed])
    assert [candidate.function for candidate in selection.candidates] == [allowed]
    assert selection.candidates[0].probability == pytest.approx(probable[allowed], rel=1e-4)
    assert selection.in_scope == pytest.approx(probable[allowed], rel=1e-4)


@pytest.mark.parametrize("with_meaning", [False, True])
@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("send_invoice_v2", SEND),
        ("v2.sendInvoice", SEND),
        ("send_invoice_legacy", f"{SEND} Deprecated: it cannot take currencies."),
        ("send_invoice_v3", "Email an invoice to a customer (v3).\n\nIt knows currencies."),
        ("deprecated.send_invoice", "Deprecated. Email an invoice to a customer!"),
    ],
)
def test_what_is_asked_of_a_forbidden_version_is_asked_of_the_allowed_one(other, said, with_meaning):
    cascade = make_cascade(("send_invoice", SEND), (other, said), with_meaning=with_meaning)
    for name in ("send_invoice", other):
        selection = cascade.select(ASKED, only=[name, "music.play"])
        assert selection.function == name
        alone = make_cascade((name, said if name == other else SEND), with_meaning=with_meaning)
        assert selection.in_scope == pytest.approx(alone.select(ASKED).in_scope, abs=0.2)


def test_what_no_version_may_do_is_asked_of_nobody():
    cascade = make_cascade(("send_v1", SEND), ("send_v2", SEND), ("send_v3", SEND))
    assert_nothing_is_handed_over(cascade, ASKED, "music.play")


def test_a_version_that_is_forbidden_is_no_doubt_that_the_allowed_one_is_meant():
    alone = make_cascade(("send_v1", SEND), with_meaning=True).select(ASKED).in_scope
    both = make_cascade(("send_v1", SEND), ("send_v2", SEND), with_meaning=True)
    for name in ("send_v1", "send_v2"):
        assert both.select(ASKED, only=[name]).in_scope > alone - 0.02


def test_what_was_learnt_of_a_forbidden_version_holds_for_the_allowed_one():
    cascade = make_cascade(("send_invoice", SEND), ("send_invoice_v2", SEND))
    for number in range(8):
        cascade.learn(Feedback(text=f"charge client {number} for it", verdict=Verdict.RIGHT, function="send_invoice"))
    assert cascade.select("charge client 77 for it").function == "send_invoice"
    assert cascade.select("charge client 77 for it", only=["send_invoice_v2"]).function == "send_invoice_v2"


@pytest.mark.parametrize(
    "text",
    [
        "email an invoice to customer 7 in another currency",
        "email an invoice to customer 7, version 2",
        "email an invoice to customer 7 the old way",
        "email an invoice to customer 7 with the newest one",
    ],
)
def test_a_text_that_asks_for_one_version_asks_for_no_other(text):
    cascade = make_cascade(("send_invoice", SEND), ("send_invoice_v2", f"{SEND} In any currency."))
    assert_nothing_is_handed_over(cascade, text, "send_invoice")


def test_a_text_that_a_rule_of_one_version_matches_asks_for_no_other():
    rules = [KeywordRule(function=name, any_of=("customer",)) for name in ("send_invoice", "send_invoice_v2")]
    rules.append(KeywordRule(function="send_invoice_v2", any_of=("euros",)))
    cascade = make_cascade(("send_invoice", SEND), ("send_invoice_v2", SEND), rules=rules)
    assert cascade.select(ASKED, only=["send_invoice"]).function == "send_invoice"
    assert_nothing_is_handed_over(cascade, f"{ASKED} in euros", "send_invoice")
    assert cascade.select(f"{ASKED} in euros", only=["send_invoice_v2"]).function == "send_invoice_v2"


@pytest.mark.parametrize(
    ("allowed", "forbidden", "text"),
    [
        (("disable_user", "Disable a user."), ("delete_user", "Delete a user."), "delete user 7"),
        (("disable_user", "Disable a user."), ("delete_user", "Delete a user."), "remove user 7"),
        (("delete_user", "Delete a user."), ("get_user", "Get a user."), "show me user 7"),
        (("get_user", "About users."), ("delete_user", "About users."), "away with user 7"),
        (("light_off", "Switch the light."), ("light_on", "Switch the light."), "switch the light"),
        (("turn_off_light", "Turn off the light."), ("turn_on_light", "Turn on the light."), "turn on the light"),
        (("lamp_1", "Turn the lamp on."), ("lamp_2", "Turn the lamp on."), "turn the second lamp on"),
        (("open_gate", "Open the gate."), ("open_gate_2", "Open the gate."), "open the other gate"),
        (("open_v1", "Open valve V1."), ("open_v2", "Open valve V2."), "open the second valve"),
        (("slack.search", "Search messages."), ("gmail.search", "Search messages."), "search my mails"),
        (("files.delete", "Delete by id."), ("users.delete", "Delete by id."), "delete account 7"),
        (("send_v1", "Send it to all."), ("send_v2", "Do not send it to all."), "do not send it to all"),
        (("lock_v1", "Move the bolt."), ("unlock_v2", "Move the bolt."), "move the bolt so that it is open"),
        (("list_orders", "List orders."), ("list_legacy_orders", "List orders."), "list the orders of before"),
        (("v1", "Run it."), ("v2", "Run it."), "run it"),
    ],
)
@pytest.mark.parametrize("with_meaning", [False, True])
def test_a_function_that_is_only_like_another_gets_nothing_of_what_that_one_is_asked_for(
    allowed, forbidden, text, with_meaning
):
    cascade = make_cascade(allowed, forbidden, with_meaning=with_meaning)
    assert_nothing_is_handed_over(cascade, text, allowed[0])


def test_each_of_several_allowed_versions_gets_its_share():
    cascade = make_cascade(("send_v1", SEND), ("send_v2", SEND), ("send_v3", SEND))
    before = {candidate.function: candidate.probability for candidate in cascade.select(ASKED).candidates}
    selection = cascade.select(ASKED, only=["send_v1", "send_v2"])
    after = {candidate.function: candidate.probability for candidate in selection.candidates}
    assert sum(after.values()) == pytest.approx(selection.in_scope)
    assert after["send_v1"] > before["send_v1"]
    assert after["send_v1"] / after["send_v2"] == pytest.approx(before["send_v1"] / before["send_v2"], rel=1e-3)


def test_two_forbidden_versions_are_no_doubt_that_the_third_is_meant():
    versions = [("send_v1", SEND), ("send_v2", SEND), ("send_v3", SEND)]
    alone = make_cascade(versions[0]).select(ASKED)
    for only in (["send_v1"], ["send_v3"]):
        assert make_cascade(*versions).select(ASKED, only=only).in_scope == pytest.approx(alone.in_scope, abs=0.2)


def test_a_text_that_names_a_version_or_is_known_to_ask_for_it_asks_for_no_other():
    cascade = make_cascade(("send_invoice", SEND), ("send_invoice_v2", SEND))
    cascade.learn(Feedback(text=ASKED, verdict=Verdict.RIGHT, function="send_invoice_v2"))
    assert cascade.select(ASKED, only=["send_invoice"]).decision is Decision.ABSTAIN
    assert cascade.select("send_invoice_v2, please", only=["send_invoice"]).decision is Decision.ABSTAIN


def test_without_only_versions_share_what_there_is():
    cascade = make_cascade(("send_invoice", SEND), ("send_invoice_v2", SEND))
    selection = cascade.select(ASKED)
    assert {candidate.function for candidate in selection.candidates[:2]} == {"send_invoice", "send_invoice_v2"}
    assert selection.candidates[0].probability < 0.6

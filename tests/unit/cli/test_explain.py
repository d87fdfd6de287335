"""`dispatcher explain`."""

SPY = '''
from shop import registry
from dispatcher import KeywordSelector
from dispatcher.selection.selection import Candidate, Decision, Selection


class Spy:
    """Finds two functions in a text with "and", and says what it knows of the conversation."""

    def select(self, text, state=None, *, only=None):
        known = f"{state.topic} {state.previous_function} {state.user}"
        candidates = (Candidate(function="price", probability=0.7, explain=lambda: known),)
        parts = tuple(
            Selection(text=part, decision=Decision.ACT, candidates=candidates, chosen=registry.get("price"))
            for part in text.split(" and ")
        )
        return Selection(
            text=text, decision=Decision.SEVERAL, candidates=candidates, parts=parts, in_scope=0.87654, model="m1"
        )


selector = Spy()
'''


def test_it_says_what_would_be_selected_and_why(run) -> None:
    ran = run("explain", "A PRICE  please: tea", "--app", "shop")
    assert ran.code == 0
    assert ran.err == ""
    assert "decision   act price" in ran.out
    assert "read as    a price please" in ran.out
    assert "about      tea" in ran.out
    assert "because " in ran.out
    assert "in scope" in ran.out
    assert "1  price" in " ".join(ran.out.split(" "))


def test_json_says_all_of_it(run) -> None:
    data = run("explain", "A PRICE  please: tea", "--app", "shop", "--json").data
    assert (data["decision"], data["function"]) == ("act", "price")
    assert data["candidates"][0]["function"] == "price"
    assert data["candidates"][0]["why"]
    assert data["read_as"] == {"instruction": "a price please", "material": "tea", "cut": False}
    assert data["parts"] == []


def test_an_abstention_is_explained_and_is_no_failure(run) -> None:
    ran = run("explain", "zzz", "--app", "shop")
    assert ran.code == 0
    assert "decision   abstain" in ran.out
    assert "response   Sorry" in ran.out


def test_each_part_is_explained_for_itself(run, folder) -> None:
    (folder / "spy.py").write_text(SPY)
    ran = run("explain", "tea and milk", "--app", "spy")
    assert "decision   several" in ran.out
    assert "part 1: tea" in ran.out
    assert "part 2: milk" in ran.out
    data = run("explain", "tea and milk", "--app", "spy", "--json").data
    assert [(part["text"], part["function"]) for part in data["parts"]] == [("tea", "price"), ("milk", "price")]
    assert (data["in_scope"], data["model"]) == (0.8765, "m1")


def test_the_conversation_reaches_the_selector(run, folder) -> None:
    (folder / "spy.py").write_text(SPY)
    words = (
        "explain",
        "tea",
        "--app",
        "spy",
        "--topic",
        "shopping",
        "--previous",
        "mail.send",
        "--user",
        "u7",
        "--json",
    )
    assert run(*words).data["candidates"][0]["why"] == "shopping mail.send u7"


def test_an_unknown_previous_function_is_refused(run) -> None:
    ran = run("explain", "tea", "--app", "shop", "--previous", "prise")
    assert ran.code == 1
    assert "no function is registered as 'prise'; did you mean 'price'?" in ran.words


def test_text_of_others_is_never_read_as_markup(run) -> None:
    assert "[red]price please[/]" in run("explain", "[red]price please[/]", "--app", "shop").out


def test_a_long_text_says_that_only_its_beginning_was_read(run) -> None:
    assert "only its beginning was read" in run("explain", "price " * 1000, "--app", "shop").out


def test_a_folder_without_a_model_is_not_passed_over(run, folder) -> None:
    (folder / "plain.py").write_text("from shop import registry\n")
    ran = run("explain", "a price please", "--app", "plain", "--folder", "models")
    assert ran.code == 1
    assert "no model is in use in models; train one there" in ran.words
    assert run("explain", "a price please", "--app", "plain", "--folder", "models", "--untrained").code == 0

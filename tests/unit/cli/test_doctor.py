"""`dispatcher doctor` on the functions themselves, without a server."""

from dispatcher.cli import examination
from dispatcher.cli.checks import Verdict, check_functions
from dispatcher.extras import install_command
from dispatcher.selection.encoders import available
from dispatcher.selection.lint import Fault, Lookalike

ALIKE = '''

@registry.function(name="post.letter")
def letter(body: str) -> None:
    """Post a paper letter to a customer."""


@registry.function(name="post.parcel")
def parcel(body: str) -> None:
    """Post a paper letter to a customer."""


@registry.function
def bare() -> None: ...
'''
#: No server: what is said of the functions needs none.
AWAY = ("--url", "redis://127.0.0.1:1/0")


def add(folder, text: str) -> None:
    shop = folder / "shop.py"
    shop.write_text(shop.read_text() + text)


def test_functions_that_look_alike_are_listed_with_the_words_that_tell_them_apart(run, folder):
    add(folder, ALIKE)
    checks = [c for c in run("doctor", "--app", "shop", *AWAY, "--json").data["checks"] if c["name"] == "functions"]
    assert [check["verdict"] for check in checks] == ["warn", "warn"]
    assert checks[0]["found"].startswith("“post.letter” and “post.parcel” look alike: ")
    assert checks[0]["advice"] == "say in both descriptions when to use which: only “post.parcel” speaks of parcel"
    assert checks[1]["found"] == "“bare”: it has neither description nor example"
    assert "docstring" in checks[1]["advice"]


def test_the_table_says_the_same(run, folder):
    add(folder, ALIKE)
    ran = run("doctor", "--app", "shop", *AWAY)
    out = ran.out + ran.err
    assert "warn functions" in out
    assert "→ say in both descriptions when to use which" in out


def test_functions_that_differ_are_one_line(run):
    checks = [c for c in run("doctor", "--app", "shop", *AWAY, "--json").data["checks"] if c["name"] == "functions"]
    assert [(check["verdict"], check["advice"]) for check in checks] == [("ok", "")]


def test_only_a_server_that_does_not_answer_is_to_be_started(run):
    def advice(url: str) -> str:
        (check,) = [
            c for c in run("doctor", "--app", "shop", "--url", url, "--json").data["checks"] if c["name"] == "server"
        ]
        assert check["verdict"] == "fail"
        return check["advice"]

    assert advice("redis://127.0.0.1:1/0") == "start it, or correct DISPATCHER_URL (or --url)"
    assert advice("http://127.0.0.1:1/0") == "correct DISPATCHER_URL (or --url)"


def test_an_empty_registry_has_no_line_about_functions(run):
    names = [c["name"] for c in run("doctor", "--app", "shop:empty", *AWAY, "--json").data["checks"]]
    assert "registry" in names
    assert "functions" not in names


def test_a_long_list_is_cut_and_says_so():
    pairs = [Lookalike(first=f"a{i}", second=f"b{i}", likeness=0.9, why="alike") for i in range(13)]
    faults = [Fault(function=f"c{i}", problem="mute", advice="speak") for i in range(11)]
    checks = list(check_functions(50, pairs, faults))
    assert len(checks) == 21
    assert {check.verdict for check in checks} == {Verdict.WARN}
    assert checks[-1].found == "3 more pairs look alike, and 1 more functions say too little of themselves"


def test_without_an_encoder_it_says_what_each_extra_would_add(monkeypatch):
    monkeypatch.setattr(available, "is_installed", lambda _: False)
    check = examination._encoders("auto")
    assert check.found == "none is installed: texts are told by words only"
    assert f"{install_command('embedding')}` would add what English sentences mean" in check.advice
    monkeypatch.setattr(available, "is_installed", lambda _: True)
    check = examination._encoders("auto")
    assert check.found.startswith("minilm-l6-int8/1, ")
    assert check.advice == ""


def test_the_encoder_that_the_settings_name_is_tried(tmp_path):
    check = examination._encoders(f"auto + folder:{tmp_path / 'none'}")
    assert check.verdict is Verdict.FAIL
    assert "is no folder with a sentence encoder" in check.found or "no sentence encoder is installed" in check.found
    assert check.advice == "correct DISPATCHER_ENCODER"

"""Wrong use: exit code 2 and a hint, before anything is started."""

import os

import pytest


# Where the words are typer's own, which change with its version, only the option must be named.
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["fly"], "No such command 'fly'"),
        (["call"], "Missing argument"),
        (["call", "price", "--app", "shop", "--timeout", "soon"], "'soon' is no duration"),
        (["call", "price", "--app", "shop", "--delay", "2y"], "'2y' is no duration"),
        (["call", "price", "--app", "shop", "--deadline", "999d"], "longer than a year"),
        (["call", "price", "--app", "shop", "tea"], "'tea' is neither name=value nor a JSON object"),
        (["call", "price", "--app", "shop", "=tea"], "'=tea' is neither name=value"),
        (["call", "price", "--app", "shop", "item=tea", "item=milk"], "'item' is given twice"),
        (["ask", "price of tea", "--app", "shop", "--arguments", "{"], "--arguments must be a JSON object"),
        (["ask", "price of tea", "--app", "shop", "--arguments", "[1]"], "--arguments must be a JSON object, not list"),
        (["functions", "--app", "shop", "--format", "yaml"], "'yaml' is not one of"),
        (["dead", "replay"], "name the dead letters by their ids, or say --all"),
        (["dead", "replay", "some-id", "--all"], "name the dead letters by their ids, or say --all"),
        (["dead", "discard", "some-id", "--function", "price"], "name the dead letters by their ids, or say --all"),
        (["dead", "list", "--limit", "0"], "--limit"),
        (["cache", "invalidate", "--app", "shop"], "name a function"),
        (["cache", "invalidate", "price", "--tag", "money", "--app", "shop"], "name a function"),
        (["cache", "invalidate", "--tag", "money", "--version", "1", "--app", "shop"], "name a function"),
        (["demo", "--workers", "0"], "--workers"),
        (["up", "--workers", "many"], "--workers"),
        (["up", "--port", "70000"], "--port"),
        (["worker", "--concurrency", "0"], "--concurrency"),
        (["status"], "Missing argument"),
        (["explain"], "Missing argument"),
        (["evaluate"], "Missing argument"),
        (["evaluate", "rows.jsonl", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_use_is_refused_with_code_2_and_says_what_is_wrong(run, words, hint) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert hint in ran.words
    assert ran.out == ""


#: What Python makes of a byte that is no UTF-8, on the command line.
BYTE = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    "words",
    [
        ["status", BYTE],
        ["cancel", BYTE],
        ["cancel", "some-id", "--reason", BYTE],
        ["call", BYTE],
        ["call", "price", f"item={BYTE}", "--app", "shop"],
        ["call", "price", "item=tea", "--idempotency-key", BYTE, "--app", "shop"],
        ["ask", BYTE, "--app", "shop"],
        ["explain", BYTE, "--app", "shop"],
        ["functions", BYTE, "--app", "shop"],
        ["functions", "--app", BYTE],
        ["status", "some-id", "--url", f"redis://{BYTE}"],
        ["dead", "show", BYTE],
        ["dead", "list", "--function", BYTE],
        ["dead", "replay", "some-id", BYTE],
        ["dead", "discard", BYTE],
        ["models", "promote", BYTE],
        ["cache", "invalidate", BYTE],
        ["worker", "--queues", BYTE, "--app", "shop"],
    ],
)
def test_what_is_no_utf_8_is_wrong_use_of_every_command(run, words) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert "is not UTF-8" in ran.words


def test_of_a_url_that_is_no_utf_8_the_password_is_not_shown(run) -> None:
    ran = run("status", "some-id", "--url", f"redis://ann:s3cret{BYTE}@host/0")
    assert ran.code == 2
    assert "the URL of redis://host (not shown as it was given) is not UTF-8" in ran.words
    assert "s3cret" not in ran.words


def test_a_path_need_not_be_utf_8(run, folder) -> None:
    (folder / BYTE).write_text('{"text": "a price please", "label": "price"}\n')
    ran = run("evaluate", BYTE, "--app", "shop")
    assert ran.code == 0


def test_without_a_command_it_lists_them_all(run) -> None:
    ran = run()
    for name in (
        "demo",
        "up",
        "worker",
        "flower",
        "call",
        "ask",
        "functions",
        "explain",
        "evaluate",
        "status",
        "cancel",
        "doctor",
        "dead",
        "cache",
    ):
        assert f" {name} " in ran.out + ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["call"], ["ask"], ["functions"], ["explain"], ["evaluate"], ["status"], ["cancel"], ["doctor"], ["demo"], ["up"], ["worker"], ["flower"],
        ["dead", "list"], ["dead", "show"], ["dead", "replay"], ["dead", "discard"],
        ["cache", "show"], ["cache", "invalidate"],
    ],
)  # fmt: skip
def test_every_command_has_help_and_speaks_json(run, words) -> None:
    ran = run(*words, "--help")
    assert ran.code == 0
    assert "--json" in ran.out


def test_help_loads_neither_celery_nor_redis_nor_pydantic_settings(tmp_path) -> None:
    import subprocess
    import sys
    from pathlib import Path

    code = (
        "import sys; from dispatcher.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([n for n in ('celery', 'kombu', 'redis', 'pydantic_settings') if n in sys.modules], file=sys.stderr)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"

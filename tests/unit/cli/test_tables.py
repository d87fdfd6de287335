"""What is named in a table to be given to another command stands there whole, however short a line is."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.cli import dead, models
from dispatcher.cli.output import Output
from dispatcher.transport.replies import DeadLetter

LONG = "a reason that goes on and on, for longer than any line of any terminal is, so that something must give way"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_ids_of_dead_letters_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["cfecd2ef-9bbc-469c-b61f-93aa18eee05e", "84d1fa37-bd75-4a38-8af5-711b52cd6112"]
    when = datetime(2026, 11, 26, tzinfo=UTC)
    letters = [
        DeadLetter(
            id=one, dead_at=when, function="send_invoice", queue="default", reason=LONG, arguments_shown="{}",
            replayable=True,
        )
        for one in ids
    ]  # fmt: skip
    dead._show_list(Output(as_json=False), letters)
    assert [word for word in capsys.readouterr().out.split() if word.count("-") == 4] == ids


def test_nothing_that_a_function_said_orders_the_terminal_about(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2026, 11, 26, tzinfo=UTC)
    reason = "ValueError: \x1b[2J"
    letter = DeadLetter(
        id="1", dead_at=when, function="f", queue="default", reason=reason, arguments_shown="{}", replayable=True
    )
    dead._show_list(Output(as_json=False), [letter])
    assert r"ValueError: \x1b[2J" in capsys.readouterr().out


def test_the_versions_of_models_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    version = "20261126T074512.123456-0123456789abcdef-of-a-long-kind"
    row: dict[str, Any] = {"version": version, "champion": True, "metrics": {"held_out_accuracy": 0.9, "ece": 0.1}}
    models._show(Output(as_json=False), [row])
    assert version in capsys.readouterr().out.split()


def test_the_names_of_functions_are_whole(run: Any, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "warehouse.shelves.count_what_is_left_of_an_article"
    more = f"\n\n@registry.function(name={name!r})\ndef count(article: str, shelf: str = '') -> int:\n"
    shop = folder / "shop.py"
    shop.write_text(shop.read_text() + more + f'    """{LONG.capitalize()}."""\n    return 0\n')
    assert name in run("functions", "--app", "shop").out.split()

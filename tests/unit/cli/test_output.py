"""Errors, exit codes and where words go."""

import pytest
import typer

from dispatcher.cli.command import command
from dispatcher.cli.output import Output, cell, visible
from dispatcher.errors import Acceptance, ServerUnreachableError

ADDRESS = "redis://there:1/0"


def test_an_error_becomes_a_line_on_standard_error_and_exit_code_1(capsys) -> None:
    def fail(*, as_json: bool) -> None:
        raise ServerUnreachableError(ADDRESS, "no [answer]", accepted=Acceptance.UNKNOWN)

    with pytest.raises(typer.Exit) as ended:
        command(fail, dispatches=True)(as_json=False)
    out, err = capsys.readouterr()
    assert ended.value.exit_code == 1
    assert out == ""
    assert err == "error: redis://there:1/0: no [answer] (whether the call was accepted is not known)\n"


def test_where_no_call_was_made_nothing_is_said_about_it(capsys) -> None:
    def fail(*, as_json: bool) -> None:
        raise ServerUnreachableError(ADDRESS, "no answer")

    with pytest.raises(typer.Exit):
        command(fail)(as_json=False)
    assert capsys.readouterr().err == "error: redis://there:1/0: no answer\n"


def test_with_json_the_error_is_data_too_and_says_whether_the_call_was_accepted(capsys) -> None:
    import json

    def fail(*, as_json: bool) -> None:
        raise ServerUnreachableError(ADDRESS, "no answer", accepted=Acceptance.UNKNOWN)

    with pytest.raises(typer.Exit):
        command(fail)(as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == {
        "code": "server_unreachable",
        "message": "redis://there:1/0: no answer (whether the call was accepted is not known)",
        "accepted": "unknown",
    }
    assert err.startswith("error: ")


def test_ctrl_c_is_exit_code_130(capsys) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        command(interrupted)()
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == ""


def test_a_bug_keeps_its_traceback() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(broken)()


def test_json_keeps_every_language_and_can_be_one_line(capsys) -> None:
    Output(as_json=True).json({"text": "数"}, one_line=True)
    assert capsys.readouterr().out == '{"text": "数"}\n'


def test_text_from_others_is_never_read_as_markup(capsys) -> None:
    output = Output(as_json=False)
    output.complain("[bold]x[/bold] and [/]")
    output.note("[red]y")
    assert capsys.readouterr().err == "error: [bold]x[/bold] and [/]\n[red]y\n"


ORDERS = "red\x1b[31m, a title\x1b]0;x\x07, back\x08, turned \u202earound, broken \ud800"


def test_what_a_terminal_would_obey_is_spelt_out(capsys) -> None:
    output = Output(as_json=False)
    output.note(ORDERS)
    output.complain(ORDERS)
    spelt = r"red\x1b[31m, a title\x1b]0;x\x07, back\x08, turned \u202earound, broken \ud800"
    assert capsys.readouterr().err == f"{spelt}\nerror: {spelt}\n"
    assert str(cell(ORDERS)) == spelt


def test_what_people_write_is_shown_as_it_is() -> None:
    for text in ("两行\n\t缩进", "👩‍👩‍👧 naïve", "قائمة", "a\u3000b"):
        assert visible(text) == text

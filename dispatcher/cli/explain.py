"""`dispatcher explain`: what would be selected for a text, and why. Calls nothing."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dispatcher.cli.options import AppOption, FolderOption, JsonOption, UntrainedOption, UrlOption

if TYPE_CHECKING:
    from dispatcher.cli.output import Output
    from dispatcher.selection.selection import Selection


def explain(
    text: Annotated[str, typer.Argument(help="What somebody wants, in words.")],
    *,
    topic: Annotated[
        str | None, typer.Option(metavar="WORD", help="What the conversation is about.", show_default=False)
    ] = None,
    previous: Annotated[
        str | None, typer.Option(metavar="FUNCTION", help="The function that was called before.", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Who asks.", show_default=False)] = None,
    untrained: UntrainedOption = False,
    folder: FolderOption = None,
    app: AppOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which function a text would select, the other candidates, and what spoke for each. Nothing is called.

    It is selected as producers do: with the model in use, and with what was said since. Exit code 0 also when no
    function fits: that is explained too.
    """
    from dispatcher.cli.learnt import learnt_selector
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.output import Output
    from dispatcher.selection.selector import ConversationState

    settings = read_settings(app=app, url=url)
    loaded = load(settings.app)
    output = Output(as_json=as_json)
    selector = learnt_selector(loaded, settings, folder=folder, untrained=untrained)
    # By its name even where an alias was given: selectors know functions by their names.
    before = None if previous is None else loaded.registry.get(previous).name
    selection = selector.select(text, ConversationState(topic=topic, previous_function=before, user=user))
    if as_json:
        output.json(_data(selection))
    else:
        _show(output, selection)


def _data(selection: "Selection") -> dict[str, Any]:
    """What the selector said, how it read the text, and the same of each part."""
    from dispatcher.cli.shapes import selection_data
    from dispatcher.selection.words import read_request

    request = read_request(selection.text)
    return {
        **selection_data(selection),
        "in_scope": round(selection.in_scope, 4),
        "model": selection.model,
        "read_as": {"instruction": request.instruction, "material": request.material, "cut": request.cut},
        "parts": [_data(part) for part in selection.parts],
    }


def _show(output: "Output", selection: "Selection", *, part: int | None = None) -> None:
    from dispatcher.cli.output import visible
    from dispatcher.selection.words import read_request

    request = read_request(selection.text)
    facts = {
        "decision": f"{selection.decision}" + (f" {selection.function}" if selection.function is not None else ""),
        "because": selection.reason,
        "response": selection.response,
        "in scope": f"{selection.in_scope:.2f}",
        "model": selection.model,
        "read as": request.instruction + ("  (only its beginning was read)" if request.cut else ""),
        "about": request.material,
    }
    screen = output.screen
    if part is not None:
        screen.print(visible(f"\npart {part}: {selection.text}"), style="bold", markup=False)
    for name, fact in facts.items():
        if fact:
            screen.print(visible(f"{name:<10} {fact}"), markup=False, soft_wrap=True)
    _show_candidates(output, selection)
    for number, inner in enumerate(selection.parts, start=1):
        _show(output, inner, part=number)


def _show_candidates(output: "Output", selection: "Selection") -> None:
    from rich.table import Column, Table

    from dispatcher.cli.output import cell

    if not selection.candidates:
        return
    table = Table("", Column("candidate", no_wrap=True), "probability", "why", box=None, pad_edge=False)
    for rank, candidate in enumerate(selection.candidates, start=1):
        cells = (str(rank), candidate.function, f"{candidate.probability:.4f}", candidate.why)
        table.add_row(*map(cell, cells))
    output.screen.print()
    output.screen.print(table)

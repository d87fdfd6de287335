"""`dispatcher functions`: what can be called."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.cli.options import AppOption, JsonOption

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.table import Table

    from dispatcher.cli.output import Output
    from dispatcher.registry.function import Function


class Format(StrEnum):
    """The formats of `Registry.tools`."""

    OPENAI = "openai"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC = "anthropic"
    MCP = "mcp"


def functions(
    name: Annotated[str | None, typer.Argument(help="One function, in detail.", show_default=False)] = None,
    *,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None,
        typer.Option(
            "--format", help="Print the functions as LLM tools instead, ready for `tools=…`.", show_default=False
        ),
    ] = None,
    app: AppOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the functions of the registry, show one of them, or export them as LLM tools."""
    from dispatcher.cli.loading import load, read_settings
    from dispatcher.cli.output import Output
    from dispatcher.cli.shapes import function_data

    registry = load(read_settings(app=app).app).registry
    output = Output(as_json=as_json)
    chosen = list(registry) if name is None else [registry.get(name)]
    if format is not None:
        output.json(registry.tools(format.value, only=[function.name for function in chosen]))
    elif as_json:
        described = [function_data(function) for function in chosen]
        output.json(described if name is None else described[0])
    elif name is None:
        output.screen.print(_table(chosen))
    else:
        _show(output, chosen[0])


def _table(functions: "list[Function[..., object]]") -> "Table":
    from rich.table import Column, Table
    from rich.text import Text

    names = Column("function", no_wrap=True)
    table = Table(names, "what it does", "arguments", "queue", box=None, pad_edge=False)
    for function in sorted(functions, key=lambda function: function.name):
        first_line = function.description.partition("\n")[0]
        cells = (function.name, first_line, ", ".join(_signature(function)), function.options.queue_name)
        table.add_row(*map(Text, cells))
    return table


def _signature(function: "Function[..., object]") -> list[str]:
    """The arguments' names; optional ones with a question mark."""
    schema = function.parameters_schema
    required, properties = schema.get("required", []), schema.get("properties", {})
    if not isinstance(properties, dict) or not isinstance(required, list):
        return []
    return [name if name in required else f"{name}?" for name in properties]


def _show(output: "Output", function: "Function[..., object]") -> None:
    from rich.json import JSON

    options = function.options
    lines = [
        f"{function.name}  version {function.version}  {'async def' if function.is_async else 'def'}",
        *([f"also called {', '.join(function.aliases)}"] if function.aliases else []),
        "",
        function.description,
        "",
        f"queue      {options.queue_name}, {options.delivery.replace('_', ' ')}",
        f"attempts   {options.retry.max_attempts}, each at most {_seconds(options.timeout)}",
        f"expires    after {_seconds(options.deadline)}",
    ]
    lines += [f"sensitive  {', '.join(sorted(options.sensitive))}"] if options.sensitive else []
    lines += [f"tags       {', '.join(sorted(options.tags))}"] if options.tags else []
    lines += [f"said as    {example}" for example in options.examples[:5]]
    output.screen.print("\n".join(lines), markup=False)
    for title, schema in (("arguments", function.parameters_schema), ("result", function.result_schema)):
        output.screen.print(f"\n{title}", style="bold")
        output.screen.print(JSON(json.dumps(schema, ensure_ascii=False)))


def _seconds(duration: "timedelta | None") -> str:
    return "the default time" if duration is None else f"{duration.total_seconds():g} s"

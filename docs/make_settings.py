"""Writes docs/settings.md from `dispatcher.settings.Settings`; with --check, says whether it is up to date."""

import sys
from pathlib import Path
from types import NoneType
from typing import get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from dispatcher.settings import PREFIX, Settings

PAGE = Path(__file__).with_name("settings.md")

HEAD = """\
<!-- Written by `make settings-doc` from dispatcher/settings.py. Edit that file instead. -->
# Settings

Read once, at the entry points (`dispatcher …`, `celery -A workers.app worker`, `Dispatcher(registry)`). Each is an
environment variable. Where that is unset, a file in `/run/secrets` named like the variable in small letters
(`dispatcher_url`) is read, as Docker and Kubernetes mount secrets. Durations are in seconds, sizes in bytes. A wrong
value stops the program at its start and is named, never shown.

| variable | meaning | default | must be |
|---|---|---|---|
"""


def make_page() -> str:
    """The page as it should be."""
    return HEAD + "".join(_row(PREFIX + name.upper(), field) for name, field in Settings.model_fields.items())


def _row(variable: str, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{variable}` | {meaning} | {_default(field)} | {_bounds(field)} |\n"


def _default(field: FieldInfo) -> str:
    if field.default is None:
        return "unset"
    return f"`{field.default}`" if str(field.default) else "empty"


def _bounds(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    words = ["a secret" if kind is SecretStr else _KINDS.get(kind, "text") for kind in kinds]
    for constraint in field.metadata:
        match constraint:
            case Ge():
                words.append(f"≥ {constraint.ge}")
            case Gt():
                words.append(f"> {constraint.gt}")
            case Le():
                words.append(f"≤ {constraint.le}")
            case Lt():
                words.append(f"< {constraint.lt}")
        pattern = getattr(constraint, "pattern", None)
        if pattern is not None:
            words.append(f"like `{pattern}`".replace("|", "\\|"))
    return ", ".join(words)


_KINDS: dict[object, str] = {float: "a number", int: "a whole number", bool: "true or false", Path: "a path"}


def main(arguments: list[str]) -> int:
    """Write the page, or compare it. Returns the exit code."""
    page = make_page()
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
            return 0
        print("docs/settings.md does not say what dispatcher/settings.py says. Run: make settings-doc", file=sys.stderr)
        return 1
    if arguments:
        print("usage: make_settings.py [--check]", file=sys.stderr)
        return 2
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

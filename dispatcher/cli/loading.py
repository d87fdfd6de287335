"""Finds the registry that `--app` or DISPATCHER_APP names, and the selector, or the rules for one, beside it."""

import importlib
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from dispatcher.errors import DispatcherError, SettingsError
from dispatcher.registry.registry import Registry
from dispatcher.settings import Settings

if TYPE_CHECKING:
    from dispatcher.selection.rules import KeywordRule
    from dispatcher.selection.selector import Selector

_PLACE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*)(:(?P<attribute>[^\W\d]\w*(\.[^\W\d]\w*)*))?")
_DEFAULT_ATTRIBUTE = "registry"


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What stands at the place."""

    #: As `module:attribute`.
    place: str
    registry: Registry
    #: The attribute `selector` of the same module; None where there is none.
    selector: "Selector | None"
    #: The attribute `keyword_rules`, for the usual selector; none where the module has a selector of its own.
    rules: "Sequence[KeywordRule]"

    def make_selector(self, settings: Settings) -> "Selector":
        """The module's own selector, else the usual one by the settings and the rules.

        Raises:
            UnknownFunctionError: a rule names a function that is not registered.
        """
        from dispatcher.client.selecting import make_selector

        return self.selector if self.selector is not None else make_selector(self.registry, settings, self.rules)


def read_settings(*, app: str | None = None, url: str | None = None) -> Settings:
    """The settings from the environment, under what the command line says.

    Raises:
        SettingsError: a setting or an option is wrong.
    """
    given = {"app": app, "url": url}
    return Settings.load(**{name: value for name, value in given.items() if value is not None})


def load(place: str) -> Loaded:
    """Import the registry at `module:attribute`, with the current folder first on the path.

    Raises:
        SettingsError: there is nothing there, or it is no registry; names what was tried.
        RegistrationError: the module registers a function that cannot be registered.
    """
    match = _PLACE.fullmatch(place)
    if match is None:
        msg = f"{place!r} is no place of a registry; write module:attribute, as in tasks:registry"
        raise SettingsError(msg)
    attribute = match["attribute"] or _DEFAULT_ATTRIBUTE
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _import(match["module"], place, folder)
    found = _find(module, attribute, place)
    selector = getattr(module, "selector", None)
    if not callable(getattr(selector, "select", None)):
        selector = None
    return Loaded(
        place=f"{match['module']}:{attribute}",
        registry=found,
        selector=cast("Selector | None", selector),
        rules=() if selector is not None else _rules_of(module, place),
    )


def _rules_of(module: ModuleType, place: str) -> "Sequence[KeywordRule]":
    from dispatcher.selection.rules import KeywordRule

    rules = getattr(module, "keyword_rules", ())
    if isinstance(rules, Sequence) and all(isinstance(rule, KeywordRule) for rule in rules):
        return rules
    msg = f"cannot use {place!r}: its `keyword_rules` must be a sequence of KeywordRule, and is {rules!r:.100}"
    raise SettingsError(msg)


def _import(name: str, place: str, folder: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DispatcherError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise _broken(name, place, error) from error
        msg = (
            f"cannot load {place!r}: there is no module {missing!r} in {folder} or among the installed packages; "
            "go to the folder that holds it, or name the registry with --app module:attribute or DISPATCHER_APP"
        )
        raise SettingsError(msg) from None
    except (Exception, SystemExit) as error:
        # Importing runs the user's code, which may raise anything, or be a program that ends.
        raise _broken(name, place, error) from error


def _broken(name: str, place: str, error: Exception | SystemExit) -> SettingsError:
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "importlib" not in frame.filename), None)
    where = "" if last is None else f" ({last.filename}, line {last.lineno})"
    said = str(error)
    if isinstance(error, SyntaxError):
        # What cannot be parsed is in no frame.
        said, where = error.msg, f" ({error.filename}, line {error.lineno})"
    return SettingsError(f"cannot load {place!r}: importing {name!r} raised {type(error).__name__}: {said}{where}")


def _find(module: ModuleType, attribute: str, place: str) -> Registry:
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Registry):
        return found
    registries = [name for name, value in vars(module).items() if isinstance(value, Registry)]
    there = f"it has {', '.join(registries)}" if registries else "no attribute of it is one"
    problem = f"has no attribute {attribute!r}" if found is None else f"has a {type(found).__name__} as {attribute!r}"
    msg = f"cannot load {place!r}: {module.__name__!r} ({module.__file__}) {problem}, not a Registry; {there}"
    raise SettingsError(msg)

"""How an extra is installed where this package came from: the one home of what hints say of it.

Whoever installed from a clone, a file or a repository would not find the package by its name in an index, or would find
another.
"""

import json
import shlex
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME: Final = "function-dispatcher"
#: As the README says it, where a folder is not there any more.
_A_CLONE: Final = "<path to the clone>"


def install_command(extra: str) -> str:
    """What to type to have an extra, beside what is installed."""
    return f"pip install {_requirement(f'[{extra}]')}"


def reinstall_command() -> str:
    """What to type where a file of this package is broken."""
    return f"pip install --force-reinstall --no-deps {_requirement('')}"


def _requirement(extra: str) -> str:
    """The package with an extra in brackets, or without, as an argument of pip's."""
    try:
        origin = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return _from_folder(Path(__file__).parents[1], extra)
    # There is none where it was found by its name.
    return _from_origin(json.loads(origin), extra) if origin else shlex.quote(f"{_NAME}{extra}")


def _from_origin(origin: Mapping[str, Any], extra: str) -> str:
    """Source: PyPA specifications, "Recording the Direct URL Origin of installed distributions"."""
    url = origin["url"]
    if "dir_info" in origin:
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return editable + _from_folder(Path(url2pathname(urlsplit(url).path)), extra)
    vcs = origin.get("vcs_info")
    at = f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url
    return shlex.quote(f"{_NAME}{extra} @ {at}")


def _from_folder(folder: Path, extra: str) -> str:
    place = folder if (folder / "pyproject.toml").is_file() else _A_CLONE
    return shlex.quote(f"{place}{extra}")

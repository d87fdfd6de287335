"""How an extra is installed where this package came from: the one home of what hints say of it.

Whoever installed from a clone, a file or a repository would not find the package by its name in an index, or would find
another.
"""

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME: Final = "function-dispatcher"
#: As the README says it, where a folder is not there any more.
_A_CLONE: Final = "<path to the clone>"
#: Of what may stand before a host, all that is no secret: the user of SSH, and names of environment variables.
_NO_SECRET: Final = re.compile(r"git|\$\{\w+\}(:\$\{\w+\})?", re.ASCII)


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
    # There is none where it was found by its name. A hint that stands in an error must not raise another.
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        if origin:
            return _from_origin(json.loads(origin), extra)
    return shlex.quote(f"{_NAME}{extra}")


def _from_origin(origin: Mapping[str, Any], extra: str) -> str:
    """Source: PyPA specifications, "Recording the Direct URL Origin of installed distributions"."""
    url = origin["url"]
    if "dir_info" in origin:
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return editable + _from_folder(Path(url2pathname(urlsplit(url).path)), extra)
    vcs, place = origin.get("vcs_info"), _without_secrets(url)
    at = f"{vcs['vcs']}+{place}@{vcs['commit_id']}" if vcs else place
    below = origin.get("subdirectory")
    return shlex.quote(f"{_NAME}{extra} @ {at}" + (f"#subdirectory={below}" if below else ""))


def _without_secrets(url: str) -> str:
    """Installers should leave passwords and tokens out of what they note, and some do not.

    Of a query, too, nobody knows what is in it: signed addresses have their signature there.
    """
    split = urlsplit(url)
    user, at, host = split.netloc.rpartition("@")
    kept = split.netloc if at and _NO_SECRET.fullmatch(user) else host
    return split._replace(netloc=kept, query="", fragment="").geturl()


def _from_folder(folder: Path, extra: str) -> str:
    place = folder if (folder / "pyproject.toml").is_file() else _A_CLONE
    return shlex.quote(f"{place}{extra}")

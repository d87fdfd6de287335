"""Vectors kept in a folder: training and benchmarks encode the same texts again and again."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.encoder import Encoder, Rows, refuse_one_text

#: Vectors that wait to be written; so many make one file, whatever the size of the batches.
_ROWS_PER_FILE: Final = 512
#: What a file that is still being written ends in.
_UNFINISHED: Final = ".part"

_Table = npt.NDArray[np.void]


class CachedEncoder:
    """An encoder that looks in a folder first. Not for selectors in use: it writes files.

    The folder holds tables as plain `.npy` files: a column `key`, the sha256 of the encoder's name and the text, and a
    column `vector`. A table is never changed and appears whole, so that processes may share a folder: each sees what
    the others had written when it began; what two encode at the same time is written twice.

    Use it with `with`, or `flush()` at the end: the last vectors wait in memory until then. Threads may share it.
    """

    def __init__(self, encoder: Encoder, folder: Path, *, max_bytes: int = 512 * 1024 * 1024) -> None:
        """Open or make a folder.

        Args:
            encoder: what is asked for texts that are not there.
            folder: of this kind of cache alone; each encoder gets a folder of its own below it.
            max_bytes: what an encoder's files may hold together. The oldest go first.

        Raises:
            ModelError: a file in the folder is not one of ours.
        """
        self.name = encoder.name
        self.dimension = encoder.dimension
        self._encoder = encoder
        self._folder = folder / hashlib.sha256(encoder.name.encode()).hexdigest()[:16]
        self._max_bytes = max_bytes
        self._layout = np.dtype([("key", "u1", (32,)), ("vector", "<f4", (encoder.dimension,))])
        self._lock = RLock()
        self._places: dict[bytes, tuple[_Table, int]] = {}
        self._waiting: dict[bytes, Rows] = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("*.npy")):
            self._read(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    def encode(self, texts: Sequence[str]) -> Rows:
        refuse_one_text(texts)
        keys = [self._key(text) for text in texts]
        with self._lock:
            unknown = {
                key: text
                for key, text in zip(keys, texts, strict=True)
                if key not in self._places and key not in self._waiting
            }
        # Outside the lock: it is what takes the time.
        fresh = dict(zip(unknown, self._encoder.encode(list(unknown.values())), strict=True)) if unknown else {}
        rows = np.zeros((len(keys), self.dimension), dtype=np.float32)
        with self._lock:
            self._waiting.update(fresh)
            for row, key in zip(rows, keys, strict=True):
                row[:] = self._vector(key)
            if len(self._waiting) >= _ROWS_PER_FILE:
                self.flush()
        return rows

    def flush(self) -> None:
        """Write what waits in memory."""
        with self._lock:
            if not self._waiting:
                return
            table = np.empty(len(self._waiting), dtype=self._layout)
            table["key"] = [np.frombuffer(key, dtype=np.uint8) for key in self._waiting]
            table["vector"] = list(self._waiting.values())
            path = self._folder / f"{uuid4().hex}.npy"
            unfinished = path.with_suffix(_UNFINISHED)
            try:
                with unfinished.open("wb") as file:
                    np.save(file, table, allow_pickle=False)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
            if not self._read(path):
                self._index(table)
            self._waiting.clear()
            self._remove_oldest(path)

    def _key(self, text: str) -> bytes:
        # The name has no zero, so no two pairs run together. Half a surrogate pair is a text like any other here.
        return hashlib.sha256(f"{self.name}\0{text}".encode("utf-8", "surrogatepass")).digest()

    def _vector(self, key: bytes) -> npt.NDArray[Any]:
        if key in self._waiting:
            return self._waiting[key]
        table, place = self._places[key]
        vector: npt.NDArray[Any] = table["vector"][place]
        return vector

    def _read(self, path: Path) -> bool:
        """Whether the file is still there: another process may have removed it."""
        try:
            # Mapped, not read: it stays readable where another process removes the file.
            table: _Table = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return False
        except (OSError, ValueError, EOFError) as error:
            msg = f"{path} is no table of vectors ({error}); remove it"
            raise ModelError(msg) from None
        if table.dtype != self._layout:
            msg = f"{path} is a table of something else ({table.dtype}); remove it"
            raise ModelError(msg)
        self._index(table)
        return True

    def _index(self, table: _Table) -> None:
        for place, key in enumerate(np.asarray(table["key"])):
            self._places[key.tobytes()] = (table, place)

    def _remove_oldest(self, newest: Path) -> None:
        """Keep the folder within its bound. What is removed stays known to this process until it ends."""
        files: list[tuple[int, int, Path]] = []
        for entry in os.scandir(self._folder):
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # another process removed it, or has just finished it
            files.append((status.st_mtime_ns, status.st_size, Path(entry.path)))
        held = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if held <= self._max_bytes:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                held -= size

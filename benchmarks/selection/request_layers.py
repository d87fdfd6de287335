"""`make request-layers`: trains the layers that adapting begins from, on a data set of intents outside the project.

    python -m benchmarks.selection.request_layers FOLDER FILE

The encoder's last layers are trained on the set's training texts as `adapting` trains them on a registry's examples, on
all texts instead of a sample and in fewer passes. Nothing of the texts is written but what moved in the layers. With
few examples of the same set the selector would have seen all of them: measure that on other sets.
"""

import os
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console

from benchmarks.selection.kinds import DataError, Intents, Row, read_set
from dispatcher.clock import SystemClock
from dispatcher.errors import DispatcherError
from dispatcher.selection.adapting import Beginning, train_layers
from dispatcher.selection.encoders.minilm import MiniLM
from dispatcher.selection.linear_training import Labelled
from dispatcher.selection.loss import Floats
from dispatcher.selection.meaning import load_meaning
from dispatcher.selection.optimisers import Epoch
from dispatcher.selection.request_layers import to_low_rank

#: The default mixture: what moves in MiniLM is what the other part does not say.
ENCODER: Final = "0.6*minilm-l6-int8/1 + 0.4*use-multilingual-v3/1"
#: Passes over the texts: see docs/selection-experiments.md.
EPOCHS: Final = 3
_WRONG_USE: Final = 2
#: Intents that there have to be.
_LEAST: Final = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[Path, typer.Argument(metavar="FOLDER", help="One data set of intents: train, valid and test.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where what moved is written, as .npz.")],
    *,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the texts.")] = EPOCHS,
) -> None:
    """Train them, and write what moved: seven minutes for 15,000 texts."""
    notes = Console(stderr=True)
    clock = SystemClock()
    began = clock.monotonic()

    def note(text: str) -> None:
        notes.print(f"{clock.monotonic() - began:6.0f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    def told(epoch: Epoch) -> None:
        note(f"pass {epoch.epoch} of {epochs}: loss {epoch.train_loss:.3f}")

    unfinished = out.with_name(f"{out.name}.{os.getpid()}.new")
    try:
        rows = _read(data)
        # Before minutes of training, not after them.
        with unfinished.open("wb") as file:
            beginning = Beginning(layers=MiniLM().open_layers(())[1], meaning=load_meaning(ENCODER))
            note(f"reading {len(rows):,} texts, with {ENCODER}")
            trained = train_layers(beginning, *_labelled(rows, beginning), epochs=epochs, on_epoch=told)
            if not trained:
                msg = f"the encoder can read none of the texts of {data}"
                raise DataError(msg)
            np.savez(file, allow_pickle=False, **to_low_rank(beginning.layers, trained))
        unfinished.replace(out)
    except (DispatcherError, OSError) as error:
        notes.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_WRONG_USE) from None
    finally:
        unfinished.unlink(missing_ok=True)
    note(f"wrote {out}: {out.stat().st_size / 1e6:.2f} MB")


def _read(data: Path) -> list[Row]:
    """The training texts that ask for something.

    Raises:
        DataError: there is no such data set, or none of two intents and more.
    """
    found = read_set(data) if data.is_dir() else None
    if not isinstance(found, Intents):
        msg = (
            f"{data} is no data set of intents: a folder with train, valid and test; see benchmarks/selection/kinds.py"
        )
        raise DataError(msg)
    rows = [row for row in found.train if row.label is not None]
    if len({row.label for row in rows}) < _LEAST:
        msg = f"{data} has fewer than {_LEAST} intents to tell apart"
        raise DataError(msg)
    return rows


def _labelled(rows: list[Row], beginning: Beginning) -> tuple[Floats, list[str], Labelled]:
    """Where prototypes start, the texts, and what they are examples of."""
    names = sorted({str(row.label) for row in rows})
    places = {name: place for place, name in enumerate(names)}
    labels = np.array([places[str(row.label)] for row in rows])
    starts = np.zeros((len(names), beginning.meaning.dimension), np.float32)
    weights = np.ones(len(rows), np.float32)
    return starts, [row.text for row in rows], Labelled(labels=labels, weights=weights, functions=len(names), seed=0)


if __name__ == "__main__":
    app()

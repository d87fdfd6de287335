"""`make request-layers`: trains the layers that adapting begins from, on a data set of intents outside the project.

    python -m benchmarks.selection.request_layers FOLDER

The encoder's last layers are trained on the set's training texts as `adapting` trains them on a registry's examples, on
all texts instead of a sample and in fewer passes. Nothing of the texts is written but what moved in the layers. What is
measured on the same set afterwards has seen its training texts twice, and its test texts not at all.
"""

from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console

from benchmarks.selection.kinds import DataError, Intents, read_set
from dispatcher.clock import SystemClock
from dispatcher.errors import DispatcherError
from dispatcher.selection.adapting import Beginning, train_layers
from dispatcher.selection.encoders import e5
from dispatcher.selection.encoders.minilm import MiniLM
from dispatcher.selection.linear_training import Labelled
from dispatcher.selection.meaning import default_name, load_meaning
from dispatcher.selection.optimisers import Epoch
from dispatcher.selection.request_layers import SHIPPED, shorten

EPOCHS: Final = 3
_WRONG_USE: Final = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[Path, typer.Argument(metavar="FOLDER", help="One data set of intents: train, valid and test.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where what moved is written.")] = SHIPPED,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the texts.")] = EPOCHS,
) -> None:
    """Train them, and write what moved: about ten minutes for 15,000 texts."""
    notes = Console(stderr=True)
    clock = SystemClock()
    began = clock.monotonic()

    def note(text: str) -> None:
        notes.print(f"{clock.monotonic() - began:6.0f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    try:
        found = read_set(data)
        if not isinstance(found, Intents):
            msg = f"{data} holds no data set of intents; see benchmarks/selection/kinds.py"
            raise DataError(msg)
        meaning = load_meaning(default_name(without=[e5.EXTRA]))
    except DispatcherError as error:
        notes.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_WRONG_USE) from None
    rows = [(row.text, row.label) for row in found.train if row.label is not None]
    names = sorted({label for _, label in rows})
    note(f"reading {len(rows):,} texts of {len(names)} intents")

    def told(epoch: Epoch) -> None:
        note(f"pass {epoch.epoch} of {epochs}: loss {epoch.train_loss:.3f}")

    _, own = MiniLM().open_layers(())
    trained = train_layers(
        Beginning(layers=own, meaning=meaning),
        np.zeros((len(names), meaning.dimension), np.float32),
        [text for text, _ in rows],
        Labelled(
            labels=np.array([names.index(label) for _, label in rows]),
            weights=np.ones(len(rows), np.float32),
            functions=len(names),
            seed=0,
        ),
        epochs=epochs,
        on_epoch=told,
    )
    np.savez(out, allow_pickle=False, **shorten(own, trained))
    note(f"wrote {out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    app()

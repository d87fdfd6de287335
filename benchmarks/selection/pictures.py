"""Pictures of trained selectors, by what `dispatcher evaluate` draws with."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from dispatcher.cli import pictures
from dispatcher.selection.evaluation import Evaluation

#: Those that stand in the docs, as they are called there.
SHOWN = {"reliability.png": "selection-reliability.png", "learning.png": "selection-learning.png"}


def folder_of(plots: Path, data: str, run: str) -> Path:
    """Where a run's pictures stand."""
    return plots / data / run.replace(",", "").replace(" ", "-")


def draw_run(evaluation: Evaluation, curves: Mapping[str, Sequence[Mapping[str, float]]], folder: Path) -> None:
    """Draw a run's reliability, confusion, ROC and learning curves into a folder of its own.

    Raises:
        SettingsError: the extra that draws is not installed.
        CommandError: the folder cannot be written to.
    """
    pictures.draw(evaluation, folder)
    if curves:
        pictures.plot_learning_curves(curves, folder / "learning.png")


def copy_shown(run: Path, plots: Path) -> list[Path]:
    """Copy a run's pictures that the docs show under the names that they have there; gives the files."""
    copied = []
    for own, shown in SHOWN.items():
        if (run / own).exists():
            copied.append(Path(shutil.copyfile(run / own, plots / shown)))
    return copied

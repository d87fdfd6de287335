"""Pictures of an evaluation and of a training, as PNG files. Needs the extra `plots`.

Lines have colours of Okabe and Ito, which people who are colour-blind tell apart, and differ in their marks too;
shades are of one hue. Source: M. Okabe, K. Ito, "Color universal design", 2008.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dispatcher.cli.command import CommandError
from dispatcher.cli.report import name_of
from dispatcher.errors import SettingsError
from dispatcher.extras import install_command
from dispatcher.selection.evaluation import Evaluation
from dispatcher.selection.measures import Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

#: Classes that a confusion matrix shows. More cannot be read on a page.
MAX_CLASSES: Final = 25
#: Letters of a class's name that a confusion matrix shows.
_MAX_NAME: Final = 32

_BLUE, _ORANGE, _GREEN, _PURPLE, _GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777"
_LINES: Final = (
    (_BLUE, "o"), (_ORANGE, "s"), (_GREEN, "^"), (_PURPLE, "D"), ("#E69F00", "v"), ("#56B4E9", "P"), ("#000000", "X"),
)  # fmt: skip
_DOTS_PER_INCH: Final = 130

History = Mapping[str, Sequence[Mapping[str, float]]]


def require() -> None:
    """Make sure that pictures can be drawn, before the work that they would show.

    Raises:
        SettingsError: the extra is not installed.
    """
    try:
        import matplotlib as _  # noqa: F401, ICN001 - only whether it is there
    except ImportError:
        msg = f"pictures need matplotlib; install it with: {install_command('plots')}"
        raise SettingsError(msg) from None


def draw(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw all pictures that an evaluation has the numbers for; gives the files.

    Raises:
        SettingsError: the extra is not installed.
        CommandError: the folder cannot be written to.
    """
    drawers: tuple[tuple[str, bool, Callable[[Evaluation, Path], None]], ...] = (
        ("reliability.png", evaluation.calibration is not None, plot_reliability),
        ("confusion.png", bool(evaluation.classes), plot_confusion),
        ("roc.png", evaluation.scope is not None, plot_roc),
    )
    drawn: list[Path] = []
    for name, possible, drawer in drawers:
        if possible:
            drawer(evaluation, folder / name)
            drawn.append(folder / name)
    return drawn


def plot_reliability(evaluation: Evaluation, path: Path) -> None:
    """Draw what was said of being right against what was, and how many rows each point stands for.

    Raises:
        SettingsError, CommandError: as `draw`.
    """
    figure = _figure(6.4, 7.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color=_GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    # The second stands on the first, and its marks are smaller: both are seen where they meet.
    for place, (title, made, colour, mark, size) in enumerate(
        (
            ("in scope, given that a function is meant", evaluation.calibration_given_scope, _BLUE, "o", 9),
            ("all rows", evaluation.calibration, _ORANGE, "s", 5),
        )
    ):
        if made is None:
            continue
        width = (made.bins[0].high - made.bins[0].low) * 0.42
        confidences, accuracies = _points(made)
        label = f"{title} (ECE {made.ece:.3f})"
        above.plot(confidences, accuracies, color=colour, marker=mark, markersize=size, label=label)
        middles = [(b.low + b.high) / 2 + (place - 0.5) * width for b in made.bins]
        below.bar(middles, [b.rows for b in made.bins], width=width, color=colour)
    above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that is right")
    figure.suptitle("Reliability of the first candidate")
    figure.legend(loc="outside lower left", frameon=False)
    above.grid(alpha=0.3)
    below.set(xlabel="probability of the first candidate", ylabel="rows")
    below.yaxis.set_major_locator(_whole_numbers())
    below.grid(alpha=0.3, axis="y")
    below.set_axisbelow(True)
    _save(figure, path)


def _points(made: Calibration) -> tuple[list[float], list[float]]:
    """Confidence and accuracy of the bins that hold rows."""
    pairs = [(b.confidence, b.accuracy) for b in made.bins if b.confidence is not None and b.accuracy is not None]
    return [confidence for confidence, _ in pairs], [accuracy for _, accuracy in pairs]


def plot_confusion(evaluation: Evaluation, path: Path) -> None:
    """Draw which classes are taken for which: numbers are rows, the shade is the share of the row's class.

    Of many classes, those with the most confusions are shown.

    Raises:
        SettingsError, CommandError: as `draw`.
    """
    shown = _most_confused(evaluation)
    counts, shades = _matrix(evaluation, shown)
    side = 3.2 + 0.36 * len(shown)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    picture = axes.imshow(shades, cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            if count:
                dark = shades[y][x] > 0.5  # noqa: PLR2004 - the middle of the scale
                axes.text(x, y, str(count), ha="center", va="center", size=8, color="white" if dark else "black")
    names = [_shorten(name_of(name)) for name in shown]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    borders = [place + 0.5 for place in range(len(shown) - 1)]
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.grid(which="minor", color=_GREY, alpha=0.25, linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    left_out = len(evaluation.classes) - len(shown)
    title = "Confusion" + (f": the {len(shown)} most confused of {len(evaluation.classes)}" if left_out else "")
    axes.set(xlabel="taken for", ylabel="meant", title=title)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the rows that mean it")
    _save(figure, path)


def _matrix(evaluation: Evaluation, shown: Sequence[str | None]) -> tuple[list[list[int]], list[list[float]]]:
    """For each class that is meant and each that it is taken for: rows, and their share of all that mean it."""
    scores = {score.function: score for score in evaluation.classes}
    cells = {(confusion.expected, confusion.predicted): confusion.rows for confusion in evaluation.confusions}
    cells |= {(name, name): scores[name].recall.hits for name in shown}
    counts = [[cells.get((meant, taken), 0) for taken in shown] for meant in shown]
    totals = [max(1, scores[name].recall.rows) for name in shown]
    return counts, [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]


def _shorten(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _most_confused(evaluation: Evaluation) -> list[str | None]:
    """The classes to show, in the order of the evaluation."""
    names = [score.function for score in evaluation.classes]
    if len(names) <= MAX_CLASSES:
        return names
    wrong: Counter[str | None] = Counter()
    for confusion in evaluation.confusions:
        wrong[confusion.expected] += confusion.rows
        wrong[confusion.predicted] += confusion.rows
    # A stable sort: classes that are confused alike stay in their order.
    chosen = set(sorted(names, key=lambda name: -wrong[name])[:MAX_CLASSES])
    return [name for name in names if name in chosen]


def plot_roc(evaluation: Evaluation, path: Path) -> None:
    """Draw how well texts in scope are told from texts out of scope.

    Raises:
        SettingsError, CommandError: as `draw`.
        ValueError: the evaluation has no such curve.
    """
    if evaluation.scope is None:
        msg = "there is no ROC curve without rows in scope and rows out of scope"
        raise ValueError(msg)
    figure = _figure(5.6, 5.6)
    axes = figure.subplots()
    points = evaluation.scope.points
    axes.plot((0, 1), (0, 1), color=_GREY, linestyle="--", linewidth=1, label="a coin")
    axes.plot(
        [point.false_positive_rate for point in points],
        [point.true_positive_rate for point in points],
        color=_BLUE,
        linewidth=2,
        label=f"the selector (AUROC {evaluation.scope.auroc:.3f})",
    )
    axes.set(
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
        xlabel="share of texts out of scope taken for in scope",
        ylabel="share of texts in scope taken for in scope",
        title="In scope or not",
    )
    axes.legend(loc="lower right", frameon=False)
    axes.grid(alpha=0.3)
    _save(figure, path)


def plot_learning_curves(history: History, path: Path) -> None:
    """Draw the loss of each model by epoch: on what it learns from (dashed), and on what was held out.

    Args:
        history: for each model by name, for each epoch `epoch`, `train_loss` and, where there is one, `valid_loss`.
        path: of the PNG file.

    Raises:
        SettingsError, CommandError: as `draw`.
    """
    figure = _figure(7.2, 4.4)
    axes = figure.subplots()
    for i, (model, epochs) in enumerate(history.items()):
        colour, mark = _LINES[i % len(_LINES)]
        for key, title, dashes in (("train_loss", "training", "--"), ("valid_loss", "held out", "-")):
            known = [epoch for epoch in epochs if key in epoch]
            if known:
                axes.plot(
                    [epoch["epoch"] for epoch in known],
                    [epoch[key] for epoch in known],
                    color=colour,
                    linestyle=dashes,
                    marker=mark,
                    markersize=4,
                    markevery=max(1, len(known) // 20),
                    label=f"{model}, {title}",
                )
    axes.set(xlabel="epoch", ylabel="loss", title="Learning curves", ylim=(0, None))
    axes.xaxis.set_major_locator(_whole_numbers())
    axes.grid(alpha=0.3)
    if axes.lines:
        _legend_beside(axes)
    _save(figure, path)


def _legend_beside(axes: "Axes") -> None:
    """Outside of the axes, where it hides no line however many there are."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _whole_numbers() -> "MaxNLocator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins="auto", integer=True)


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, without pyplot: nothing global, no window."""
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise CommandError(msg) from None

"""An evaluation as tables for people, and as data."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dispatcher.selection.evaluation import ClassScore, Evaluation
from dispatcher.selection.measures import Calibration, Roc, Share
from dispatcher.selection.selection import Decision

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Json = dict[str, Any]

#: Confusions, and classes, that a terminal shows; `--json` holds them all.
SHOWN = 10
#: What the class without a function is called.
NO_FUNCTION = "(no function)"


def name_of(function: str | None) -> str:
    """A class as people read it."""
    return NO_FUNCTION if function is None else function


def show(screen: "Console", evaluation: Evaluation) -> None:
    """Write the tables."""
    inside, outside = (
        sum(decisions.values()) for decisions in (evaluation.decisions_in_scope, evaluation.decisions_out_of_scope)
    )
    many = "1 row" if evaluation.rows == 1 else f"{evaluation.rows:,} rows"
    screen.print(f"{many}: {inside} in scope, {outside} out of scope\n", markup=False)
    screen.print(_table(("measure", "value", "95 % interval", "rows"), _shares(evaluation), title="How often"))
    screen.print(_table(("measure", "value"), _scores(evaluation), title="\nHow well told, and how fast"))
    screen.print(
        _table(("decision", "in scope", "out of scope"), _decisions(evaluation), title="\nWhat was decided, in rows")
    )
    if evaluation.confusions:
        rows = [(name_of(c.expected), name_of(c.predicted), str(c.rows)) for c in evaluation.confusions[:SHOWN]]
        title = _title("Most confused", SHOWN, len(evaluation.confusions))
        screen.print(_table(("meant", "taken for", "rows"), rows, title=title))
    weak = sorted((score for score in evaluation.classes if score.f1 < 1), key=lambda score: score.f1)
    if weak:
        title = _title("Least well told", SHOWN, len(weak))
        heads = ("function", "rows", "recall", "precision", "F1")
        screen.print(_table(heads, [_class_cells(score) for score in weak[:SHOWN]], title=title))


def _shares(evaluation: Evaluation) -> Iterable[tuple[str, ...]]:
    shares = {
        "first candidate is right, in scope": evaluation.accuracy,
        **{f"a right one among the first {k}": share for k, share in evaluation.recall_at.items() if k > 1},
        "calls are right, in scope": evaluation.accuracy_of_calls,
        "calls are right, where it calls": evaluation.precision_of_calls,
        "abstains, out of scope": evaluation.out_of_scope_recall,
        "asks, out of scope": evaluation.out_of_scope_asked,
    }
    for name, share in shares.items():
        low, high = share.interval
        between = f"{low:.1%} to {high:.1%}" if share.rows else ""
        yield name, _percent(share), between, str(share.rows)


def _scores(evaluation: Evaluation) -> Iterable[tuple[str, str]]:
    if evaluation.scope is None:
        scope = "needs rows in scope and out of scope"
    elif len(evaluation.scope.points) == 2:  # noqa: PLR2004 - nothing and everything, with no threshold between
        scope = f"{evaluation.scope.auroc:.4f} (every text got the same score)"
    else:
        scope = f"{evaluation.scope.auroc:.4f}"
    yield "AUROC, in scope or not", scope
    for name, made in (
        ("calibration error, in scope", evaluation.calibration_given_scope),
        ("calibration error, all rows", evaluation.calibration),
    ):
        yield name, "no row" if made is None else f"{made.ece:.4f}"
    if evaluation.latency is not None:
        times = evaluation.latency
        yield "latency p50, p95, p99", f"{times.p50_ms:.2f}, {times.p95_ms:.2f}, {times.p99_ms:.2f} ms"


def _decisions(evaluation: Evaluation) -> Iterable[tuple[str, str, str]]:
    for decision in Decision:
        inside, outside = evaluation.decisions_in_scope[decision], evaluation.decisions_out_of_scope[decision]
        if inside or outside or decision is not Decision.SEVERAL:
            yield str(decision), str(inside), str(outside)


def _class_cells(score: ClassScore) -> tuple[str, ...]:
    cells = (str(score.recall.rows), _percent(score.recall), _percent(score.precision), f"{score.f1:.2f}")
    return name_of(score.function), *cells


def _percent(share: Share) -> str:
    return "–" if share.value is None else f"{share.value:.1%}"  # noqa: RUF001 - a dash


def _title(what: str, shown: int, of: int) -> str:
    return f"\n{what}" if of <= shown else f"\n{what}: {shown} of {of}"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, title: str) -> "Table":
    """A table whose columns after the first hold numbers, but for a second column of names."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in {heads[0], "value", "taken for"} else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def evaluation_data(evaluation: Evaluation) -> Json:
    """An evaluation as JSON data: shares from 0 to 1 with their 95 % intervals, times in milliseconds."""
    times = evaluation.latency
    return {
        "rows": evaluation.rows,
        "in_scope": {
            "rows": evaluation.accuracy.rows,
            "accuracy": _share_data(evaluation.accuracy),
            "recall_at": {str(count): _share_data(share) for count, share in evaluation.recall_at.items()},
            "accuracy_of_calls": _share_data(evaluation.accuracy_of_calls),
            "decisions": {str(decision): rows for decision, rows in evaluation.decisions_in_scope.items()},
        },
        "out_of_scope": {
            "rows": evaluation.out_of_scope_recall.rows,
            "recall": _share_data(evaluation.out_of_scope_recall),
            "asked": _share_data(evaluation.out_of_scope_asked),
            "decisions": {str(decision): rows for decision, rows in evaluation.decisions_out_of_scope.items()},
        },
        "precision_of_calls": _share_data(evaluation.precision_of_calls),
        "scope": _roc_data(evaluation.scope),
        "calibration_given_scope": _calibration_data(evaluation.calibration_given_scope),
        "calibration": _calibration_data(evaluation.calibration),
        "latency_ms": None if times is None else {"p50": times.p50_ms, "p95": times.p95_ms, "p99": times.p99_ms},
        "confusions": [
            {"expected": c.expected, "predicted": c.predicted, "rows": c.rows} for c in evaluation.confusions
        ],
        "functions": [
            {
                "function": score.function,
                "recall": _share_data(score.recall),
                "precision": _share_data(score.precision),
                "f1": round(score.f1, 6),
            }
            for score in evaluation.classes
        ],
    }


def _share_data(share: Share) -> Json:
    low, high = share.interval
    value = None if share.value is None else round(share.value, 6)
    return {"value": value, "low": round(low, 6), "high": round(high, 6), "hits": share.hits, "rows": share.rows}


def _roc_data(roc: Roc | None) -> Json | None:
    if roc is None:
        return None
    points = [
        {
            "threshold": point.threshold,
            "false_positive_rate": round(point.false_positive_rate, 6),
            "true_positive_rate": round(point.true_positive_rate, 6),
        }
        for point in roc.points
    ]
    return {"auroc": round(roc.auroc, 6), "roc": points}


def _calibration_data(calibration: Calibration | None) -> Json | None:
    if calibration is None:
        return None
    bins = [
        {"low": b.low, "high": b.high, "rows": b.rows, "confidence": b.confidence, "accuracy": b.accuracy}
        for b in calibration.bins
    ]
    return {"ece": round(calibration.ece, 6), "bins": bins}

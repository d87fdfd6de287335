"""Functions known by their descriptions alone: without any example, and with what use teaches from there."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from benchmarks.selection import figures
from benchmarks.selection.bench import Bench
from benchmarks.selection.figures import Figure, share_figure
from benchmarks.selection.functions import Registered, register
from benchmarks.selection.intents import label
from benchmarks.selection.kinds import Request, Row, Schemas, Tools
from benchmarks.selection.stopwatch import Stopwatch
from benchmarks.values import Unit
from dispatcher.cli.report import evaluation_data
from dispatcher.selection.cache import SelectionCache
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.evaluation import Judged, Labelled, judge, judge_one, summarise
from dispatcher.selection.feedback import Feedback, Verdict
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.measures import Share
from dispatcher.selection.selection import Decision, Selection

#: The category of requests for which one of several offered functions is to be found.
SEVERAL_OFFERED = "multiple"
#: Rows at the end of a course of online learning whose accuracy counts.
LAST = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """One course of online learning."""

    run: str
    #: None goes by words alone.
    meaning: Meaning | None
    #: Whether the right function is told; else only whether the first candidate is the right one.
    told: bool


def measure_tools(bench: Bench, data: Tools) -> None:
    """Ask for tools by their descriptions; then learn from each request in order."""
    known = register(data.tools)
    rows = [row for row in data.queries if row.label in known.names]
    asked = bench.asked(rows)
    course_rows = rows[: min(bench.sizes.online, len(rows) * 2 // 3)]
    bench.encode(row.text for row in (*asked, *course_rows))
    for run, meaning in _ways(bench):
        bench.note(f"  {run}: {len(asked):,} requests")
        _without_examples(bench, data.name, run, _select(bench, known, meaning, label(asked, known.names)))
    courses = [Course(run=figures.TOLD_WORDS, meaning=None, told=True)]
    if bench.meaning is not None:
        courses.append(Course(run=figures.TOLD, meaning=bench.meaning, told=True))
        courses.append(Course(run=figures.RIGHT_OR_WRONG, meaning=bench.meaning, told=False))
    reached = {}
    for course in courses:
        bench.note(f"  {course.run}: {len(course_rows):,} requests in order")
        reached[course.run] = _learn_online(bench, data.name, known, course_rows, course).value
    told_right, guided = reached.get(figures.TOLD), reached.get(figures.RIGHT_OR_WRONG)
    if told_right is not None and guided is not None:
        bench.add(
            Figure(
                data=data.name,
                run=figures.RIGHT_OR_WRONG,
                measure=figures.BEHIND,
                value=told_right - guided,
                unit=Unit.POINTS,
                rows=min(LAST, len(course_rows)),
            )
        )


def measure_schemas(bench: Bench, data: Schemas) -> None:
    """Ask for functions by their schemas: among all, and among those that a request offers."""
    known = register(data.functions)
    requests = bench.asked([request for request in data.requests if request.right <= known.names.keys()])
    bench.encode(request.text for request in requests)
    rows = [_labelled(request, known) for request in requests]
    for run, meaning in _ways(bench):
        bench.note(f"  {run}: {len(rows):,} requests, {len(known.registry):,} functions")
        _without_examples(bench, data.name, run, _select(bench, known, meaning, rows))
    meaning = bench.meaning
    offered = [request for request in requests if request.category == SEVERAL_OFFERED]
    if offered:
        selector = Cascade(known.registry, meaning=meaning, cache=SelectionCache(0))
        judged = [_among_offered(selector, request, known) for request in offered]
        bench.add(share_figure(data.name, figures.OFFERED, figures.FIRST, summarise(judged).accuracy))


def _ways(bench: Bench) -> list[tuple[str, Meaning | None]]:
    ways: list[tuple[str, Meaning | None]] = [(figures.DESCRIPTIONS_WORDS, None)]
    if bench.meaning is not None:
        ways.append((figures.DESCRIPTIONS, bench.meaning))
    return ways


def _select(bench: Bench, known: Registered, meaning: Meaning | None, rows: Iterable[Labelled]) -> tuple[Judged, ...]:
    selector = Cascade(known.registry, meaning=meaning, cache=SelectionCache(0))
    return judge(selector, rows, clock=bench.clock)


def _without_examples(bench: Bench, data: str, run: str, judged: Sequence[Judged]) -> None:
    """Add the figures of a selector that was given no example."""
    evaluation = summarise(judged)
    bench.add(share_figure(data, run, figures.FIRST, evaluation.accuracy))
    for count, measure in ((5, figures.AMONG_5), (10, figures.AMONG_10)):
        if count in evaluation.recall_at:
            bench.add(share_figure(data, run, measure, evaluation.recall_at[count]))
    if evaluation.out_of_scope_recall.rows:
        bench.add(share_figure(data, run, figures.REFUSED, evaluation.out_of_scope_recall))
    bench.keep(data, run, evaluation_data(evaluation))


def _labelled(request: Request, known: Registered) -> Labelled:
    return Labelled(text=request.text, labels=tuple(sorted(known.names[name] for name in request.right)))


def _among_offered(selector: Cascade, request: Request, known: Registered) -> Judged:
    offered = [known.names[name] for name in request.offered if name in known.names]
    selection = selector.select(request.text, only=offered)
    return judge_one(_labelled(request, known), selection, seconds=0.0)


def _learn_online(bench: Bench, data: str, known: Registered, rows: Sequence[Row], course: Course) -> Share:
    """Select, then learn, each row once and in order; gives how often the last rows were right before."""
    selector = Cascade(known.registry, meaning=course.meaning, cache=SelectionCache(0))
    watch = Stopwatch()
    right: list[bool] = []
    abstained = 0
    for row in rows:
        function = known.names[str(row.label)]
        selection = selector.select(row.text)
        abstained += selection.decision is Decision.ABSTAIN
        right.append(bool(selection.candidates) and selection.candidates[0].function == function)
        feedback = _say(selection, function, told=course.told)
        if feedback is not None:
            watch.time(lambda feedback=feedback: selector.learn(feedback))  # type: ignore[misc] # as in time_each
    last = Share(hits=sum(right[-LAST:]), rows=len(right[-LAST:]))
    bench.add(share_figure(data, course.run, figures.LAST, last))
    each = [sum(part) / len(part) for start in range(0, len(right), LAST) if (part := right[start : start + LAST])]
    details: dict[str, object] = {"accuracy_by_thousand": each, "abstained": abstained}
    if watch.calls:
        timing = watch.timing()
        details["learn_seconds"] = asdict(timing)
        bench.add(*(replace(figure, measure=figures.LEARN) for figure in timing.figures(data, course.run)[:1]))
    bench.keep(data, course.run, details)
    return last


def _say(selection: Selection, function: str, *, told: bool) -> Feedback | None:
    """The feedback that a user gives; None where there is nothing to judge."""
    if told:
        return Feedback(text=selection.text, verdict=Verdict.RIGHT, function=function)
    if not selection.candidates:
        return None
    first = selection.candidates[0].function
    verdict = Verdict.RIGHT if first == function else Verdict.WRONG
    return Feedback(text=selection.text, verdict=verdict, function=first)

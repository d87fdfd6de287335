"""Ten thousand functions: made up by rule, registered, and asked for in other words, in a process of its own."""

import gc
import os
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.selection import figures
from benchmarks.selection.bench import Bench
from benchmarks.selection.figures import Figure, share_figure
from benchmarks.selection.functions import register
from benchmarks.selection.kinds import Spec
from benchmarks.selection.stopwatch import Timing, time_each
from benchmarks.values import Unit
from dispatcher.clock import SystemClock
from dispatcher.selection.cache import SelectionCache
from dispatcher.selection.cascade import Cascade
from dispatcher.selection.measures import Share

FUNCTIONS: Final = 10_000

_AREAS: Final = (
    "billing", "payroll", "warehouse", "shipping", "support", "marketing", "calendar", "travel", "hotel", "kitchen",
    "garden", "library", "school", "hospital", "pharmacy", "insurance", "bank", "stock", "energy", "water", "traffic",
    "weather", "music", "video", "photo", "printer", "network", "server", "database", "security", "recruiting", "legal",
)  # fmt: skip
#: What a function does, and how people ask for it.
_VERBS: Final = (
    ("create", "set up"), ("delete", "get rid of"), ("update", "change"), ("list", "show me all"),
    ("find", "look for"), ("send", "mail out"), ("export", "download"), ("import", "load"), ("approve", "sign off"),
    ("reject", "turn down"), ("archive", "put away"), ("restore", "bring back"), ("compare", "tell apart"),
    ("merge", "join"), ("split", "cut up"), ("schedule", "plan"), ("cancel", "call off"), ("count", "add up"),
    ("rename", "give another name"), ("validate", "check"), ("translate", "put into another language"),
    ("summarise", "sum up"), ("assign", "hand over"), ("print", "put on paper"), ("monitor", "keep an eye on"),
)  # fmt: skip
_QUALIFIERS: Final = (
    "overdue", "weekly", "monthly", "archived", "shared", "private", "draft", "urgent", "recurring", "seasonal",
    "regional", "foreign", "damaged", "missing", "duplicate", "temporary", "annual", "internal", "external", "pending",
)  # fmt: skip
_NOUNS: Final = (
    "invoice", "contract", "order", "parcel", "ticket", "campaign", "meeting", "booking", "room", "recipe", "plant",
    "book", "course", "patient", "prescription", "policy", "account", "share", "meter", "pipe", "route", "forecast",
    "playlist", "clip", "album", "label", "cable", "backup", "table", "password", "candidate", "clause", "customer",
    "supplier", "report", "budget", "receipt", "refund", "shift", "vacation", "badge", "desk", "car", "key", "survey",
    "form", "template", "signature", "address", "comment",
)  # fmt: skip
_PARAMETERS: Final = (
    ("number", "integer", "which one, by its number"),
    ("day", "string", "the day it is about"),
    ("recipient", "string", "who is told about it"),
    ("amount", "number", "how much, in euros"),
    ("reason", "string", "why, in a few words"),
    ("language", "string", "of the answer"),
)
_ENDINGS: Final = (
    "and writes down who asked for it",
    "of the last thirty days",
    "after somebody has agreed",
    "for one branch or for all of them",
    "and tells everybody whom it concerns",
    "without changing anything else",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """What many functions cost."""

    functions: int
    #: Of memory: the registry's functions, and the selector over them when it has answered.
    registry_bytes: int
    selector_bytes: int
    #: To register all, and to be ready to select.
    register_seconds: float
    ready_seconds: float
    timing: Timing
    found: Share


def measure_growth(bench: Bench) -> None:
    """Grow a registry in a fresh process, whose memory holds nothing else."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as processes:
        grown = processes.submit(grow, FUNCTIONS, bench.sizes.timed).result()
    data, run = figures.GROWTH, figures.MANY
    bench.add(
        *grown.timing.figures(data, run),
        _figure(figures.MEMORY, grown.selector_bytes, Unit.BYTES),
        _figure(figures.MEMORY_REGISTRY, grown.registry_bytes, Unit.BYTES),
        share_figure(data, run, figures.FOUND, grown.found),
    )
    bench.keep(
        data,
        run,
        {
            "functions": grown.functions,
            "register_seconds": grown.register_seconds,
            "ready_seconds": grown.ready_seconds,
        },
    )


def _figure(measure: str, value: float, unit: Unit) -> Figure:
    return Figure(data=figures.GROWTH, run=figures.MANY, measure=measure, value=value, unit=unit)


def grow(functions: int, requests: int, seed: int = 0) -> Growth:
    """Register made-up functions, select by words alone, and measure.

    Args:
        functions: how many.
        requests: how many are asked for, in other words.
        seed: of what is made up.
    """
    specs, texts = make_up(functions, seed)
    chosen = np.random.default_rng(seed + 1).choice(functions, min(requests, functions), replace=False)
    before = _resident_bytes()
    clock = SystemClock()
    began = clock.monotonic()
    known = register(specs)
    register_seconds = clock.monotonic() - began
    registered = _resident_bytes()
    selector = Cascade(known.registry, cache=SelectionCache(0))
    began = clock.monotonic()
    selector.select("what is this?")
    ready_seconds = clock.monotonic() - began
    right = 0
    for place in chosen:
        candidates = selector.select(texts[place]).candidates
        right += bool(candidates) and candidates[0].function == known.names[specs[place].name]
    timing = time_each(selector.select, [texts[place] for place in chosen])
    return Growth(
        functions=len(known.registry),
        registry_bytes=registered - before,
        selector_bytes=_resident_bytes() - registered,
        register_seconds=register_seconds,
        ready_seconds=ready_seconds,
        timing=timing,
        found=Share(hits=right, rows=len(chosen)),
    )


def make_up(functions: int, seed: int) -> tuple[list[Spec], list[str]]:
    """Functions with plausible names, descriptions and parameters, and a request for each in other words.

    Args:
        functions: how many; at most as many as there are combinations, some 800,000.
        seed: of the choice.
    """
    random = np.random.default_rng(seed)
    shape = (len(_AREAS), len(_VERBS), len(_QUALIFIERS), len(_NOUNS))
    places = random.choice(int(np.prod(shape)), functions, replace=False)
    specs: list[Spec] = []
    texts: list[str] = []
    for a, v, q, n in zip(*np.unravel_index(places, shape), strict=True):
        area, (verb, asked), qualifier, noun = _AREAS[a], _VERBS[v], _QUALIFIERS[q], _NOUNS[n]
        ending = _ENDINGS[int(random.integers(len(_ENDINGS)))]
        own = random.choice(len(_PARAMETERS), int(random.integers(3)), replace=False)
        properties = {
            name: {"type": kind, "description": says} for name, kind, says in (_PARAMETERS[int(i)] for i in own)
        }
        specs.append(
            Spec(
                name=f"{area}.{verb}_{qualifier}_{noun}",
                description=f"{verb.capitalize()} the {qualifier} {noun} of the {area} {ending}.",
                parameters={"type": "dict", "properties": properties, "required": list(properties)},
            )
        )
        texts.append(f"could you {asked} the {qualifier} {noun} in {area} please")
    return specs, texts


def _resident_bytes() -> int:
    """The memory that this process holds now; where the system does not say, the most it ever held."""
    gc.collect()
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

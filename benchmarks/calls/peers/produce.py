"""A producer as a program: `python -m benchmarks.calls.peers.produce MODULE WORK COUNT`.

The module is imported under its own name, by which workers know its functions.
"""

import asyncio
import sys
from importlib import import_module
from importlib.util import find_spec

from benchmarks.calls import profiler
from benchmarks.calls.peers.producing import COLD, QUICK, WAITING, WORK, perform


def main() -> None:
    """Have the module's `make_producer` do the work, on the quickest event loop that is installed."""
    module, name, count = sys.argv[1:]
    function = WAITING if name.startswith("wait") else QUICK
    program = import_module(module)
    producer = program.make_producer()
    work = {**WORK, **getattr(program, "WORK", {})}
    watching = profiler.wanted()
    factory = import_module("uvloop").new_event_loop if find_spec("uvloop") is not None else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(
            perform(
                producer,
                work[name],
                None if name in COLD else function,
                int(count),
                on_go=watching.clear if watching is not None else None,
            )
        )
    if watching is not None:
        watching.write("producer")


if __name__ == "__main__":
    main()

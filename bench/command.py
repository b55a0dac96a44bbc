"""The command line that every benchmark has: ``python -m bench.NAME [--quick] [--json FILE]``."""

import argparse
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench.figures import Figure
from bench.machine import describe_machine
from bench.records import Record, append, today

Measure = Callable[[bool], Iterable[Figure]]
_ENDING = (signal.SIGINT, signal.SIGTERM)


def run_command(name: str, description: str | None, measure: Measure) -> None:
    """Ask a benchmark by the command line: print each figure as it comes, and keep it where a file is named.

    Args:
        name: The benchmark's.
        description: Its docstring, whose first line is the question.
        measure: Yields figures; it is told whether to be quick, which makes them rough.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="few and small measurements: is it sound?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the figures, a JSON object on each line")
    options = parser.parse_args()
    end_in_order()
    machine, question, load = describe_machine(), (description or name).splitlines()[0], os.getloadavg()[0]
    print(f"{name}: {question}\n  on {machine.line()}; load {load:.2f} before", flush=True)
    for figure in measure(options.quick):
        print(f"  {figure.line()}", flush=True)
        if options.json:
            append(options.json, Record(name, question, today(), load, machine, figure))


def end_in_order() -> None:
    """Let the signals that end a program end it as an exception, so that what it has started is stopped on the way."""
    for number in _ENDING:
        signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)  # A second one would interrupt the stopping.
    raise SystemExit(128 + number)

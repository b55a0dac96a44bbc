"""The command line that every benchmark has: ``python -m bench.NAME [--quick] [--json FILE]``."""

import argparse
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure
from bench.machine import Machine, describe_machine

Measure = Callable[[bool], Iterable[Figure]]


def run_command(name: str, question: str | None, measure: Measure) -> None:
    """Ask a benchmark by the command line: print each figure as it comes, and keep it where a file is named.

    Args:
        name: The benchmark's.
        question: What it asks, for its help text.
        measure: Yields figures; it is told whether to be quick, which makes them rough.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=question)
    parser.add_argument("--quick", action="store_true", help="few and small measurements: is it sound?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the figures, a JSON object on each line")
    options = parser.parse_args()
    machine = describe_machine()
    print(f"{name} on {machine.line()}", flush=True)
    for figure in measure(options.quick):
        print(f"  {figure.line()}", flush=True)
        if options.json:
            append(options.json, name, figure, machine)


def append(file: Path, name: str, figure: Figure, machine: Machine) -> None:
    """Add a figure to a file of figures."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"bench": name, "at": at, "figure": figure.plain(), "machine": machine.plain()}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")

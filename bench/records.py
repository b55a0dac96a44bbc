"""Figures on file: a JSON object on each line, with what was asked, when, and on which machine."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure
from bench.machine import Machine


@dataclass(frozen=True)
class Record:
    """A figure, the benchmark that it answers, and under what circumstances it was measured.

    Attributes:
        load: The machine's load average over the minute before: what else was going on there.
    """

    bench: str
    question: str
    day: str
    load: float
    machine: Machine
    figure: Figure

    def line(self) -> str:
        """Return it as a line of JSON."""
        plain = {**vars(self), "machine": self.machine.plain(), "figure": self.figure.plain()}
        return json.dumps(plain, ensure_ascii=False)

    @classmethod
    def parse(cls, line: str) -> "Record":
        """Return what `line` came from."""
        plain = json.loads(line)
        machine, figure = Machine(**plain.pop("machine")), Figure.parse(plain.pop("figure"))
        return cls(**plain, machine=machine, figure=figure)


def today() -> str:
    """Return the day in UTC, as ``2026-11-21``."""
    return datetime.now(UTC).date().isoformat()


def append(file: Path, record: Record) -> None:
    """Add a record to a file, which is made where it is missing."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(record.line() + "\n")


def read(file: Path) -> list[Record]:
    """Return the records of a file, none where there is no file."""
    return [Record.parse(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def replace(file: Path, records: Iterable[Record], *, of: str) -> None:
    """Write records in place of those of the benchmark ``of``; those of others stay."""
    kept = [record for record in read(file) if record.bench != of]
    lines = [record.line() for record in (*kept, *records)]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

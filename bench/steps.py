"""Steps on file: each job writes down every step that it does, whoever runs it, and the file tells what happened."""

import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

FILE_VARIABLE = "BENCH_STEPS_FILE"
COUNT_VARIABLE = "BENCH_STEPS_COUNT"
SECONDS_VARIABLE = "BENCH_STEP_SECONDS"
UNIT_VARIABLE = "BENCH_STEP_UNIT"
BATCHES_VARIABLE = "BENCH_STEP_BATCHES"


@dataclass(frozen=True)
class Slowness:
    """How slow trainers are that write their steps down (`bench.slow_trainer`).

    Attributes:
        unit: What a step is.
        seconds: How much longer each takes.
        batches: Batches of an epoch, where they are the steps.
    """

    unit: Literal["epoch", "batch"]
    seconds: float
    batches: int = 1

    def variables(self, file: Path) -> dict[str, str]:
        """Return the environment of a host whose steps go into ``file``."""
        return {
            FILE_VARIABLE: str(file),
            UNIT_VARIABLE: self.unit,
            SECONDS_VARIABLE: str(self.seconds),
            BATCHES_VARIABLE: str(self.batches),
        }


@dataclass(frozen=True)
class Step:
    """One step: its number in the job, from 1, the run of the job that did it, its process, and when it was done.

    ``at`` is in seconds since 1970.
    """

    run: str
    pid: int
    number: int
    at: float


class StepWriter:
    """Writes down the steps of one run; a line is one write, so that several may share a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._run = secrets.token_hex(6)

    def write(self, number: int) -> None:
        """Write down that a step is done now."""
        line = json.dumps({"run": self._run, "pid": os.getpid(), "number": number, "at": time.time()})
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")


def do_steps() -> None:
    """Be the job: do the steps that the environment asks for, one after another, and write each down."""
    writer, seconds = StepWriter(Path(os.environ[FILE_VARIABLE])), float(os.environ[SECONDS_VARIABLE])
    for number in range(1, int(os.environ[COUNT_VARIABLE]) + 1):
        time.sleep(seconds)
        writer.write(number)


def read_steps(file: Path) -> list[Step]:
    """Return the steps in a file in their order in time; none where there is no file; a line half written is left."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return sorted((Step(**json.loads(line)) for line in lines if line.endswith("\n")), key=lambda step: step.at)


def first_after(steps: Sequence[Step], moment: float, *, but: str) -> Step | None:
    """Return the first step after a moment that another run than ``but`` did."""
    return next((step for step in steps if step.at > moment and step.run != but), None)


def count_repeated(steps: Sequence[Step]) -> int:
    """Return how many steps were done that had been done before."""
    return len(steps) - len({step.number for step in steps})


def count_at_once(steps: Sequence[Step]) -> int:
    """Return how many runs went on at the worst moment; each is taken from its first step to its last."""
    spans = [(run[0].at, run[-1].at) for run in _by_run(steps)]
    return max((sum(begun <= start <= ended for begun, ended in spans) for start, _ in spans), default=0)


def _by_run(steps: Sequence[Step]) -> list[list[Step]]:
    ordered = sorted(steps, key=lambda step: (step.run, step.at))
    return [list(group) for _, group in groupby(ordered, key=lambda step: step.run)]

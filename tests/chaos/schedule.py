"""Random faults on a running platform: which, when, at whom and for how long, all drawn from one seed.

A round hurts one platform while a user has it train small jobs, heals it, waits until every job has ended, and has the
history checked. The same seed draws the same faults again. What they hit depends on the moment, too: a replay is the
same storm, not the same drops.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.history import Violation
from chaos.mischief import Mischief
from chaos.platform import Platform
from chaos.user import User

from core.domain.jobs import JobStatus

# How often each comes. Those that take a program's start to heal are rarer, or nothing else would ever happen.
_OF_PROCESSES = {
    "kill trainer": 4,
    "freeze trainer": 2,
    "kill worker": 2,
    "terminate worker": 2,
    "freeze supervisor": 2,
    "freeze worker": 2,
    "kill api": 1,
    "terminate api": 1,
    "freeze api": 1,
    "kill beat": 1,
    "kill ingest": 1,
    "freeze ingest": 1,
    "kill redis": 1,
    "freeze redis": 1,
    "flush redis": 4,
    "duplicate messages": 4,
}
_OF_THE_USER = {"cancel": 4, "pause": 4, "resume": 4, "stop": 2, "retry": 4, "drop upload": 2, "upload": 1}
_WEIGHTS = _OF_PROCESSES | _OF_THE_USER
_MEAN_WAIT_SECONDS = 0.7
_LONGEST_SECONDS = 8.0
_REST_SECONDS = 120.0
# A job that is interrupted again and again is not lost for it: every job of a schedule must come to a good end.
SETTINGS = {"MAX_ATTEMPTS": 1000}


@dataclass(frozen=True)
class Fault:
    """One fault: ``wait_seconds`` after the one before; ``place``, 0 to 1, chooses among those that can be hit."""

    kind: str
    wait_seconds: float
    lasts_seconds: float
    place: float


@dataclass
class Report:
    """What a round came to: ``faults`` that hit somebody, and all that was found broken in ``violations``."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    attempts: int = 0
    lost: int = 0
    stale: int = 0
    stuck: int = 0
    violations: list[Violation] = field(default_factory=list)

    def line(self) -> str:
        """Return the report as a line for a person."""
        return (
            f"seed {self.seed}: {self.faults.total()} faults, {self.jobs} jobs in {self.attempts} attempts; "
            f"{self.lost} lost, {self.stale} stale writes accepted, {self.stuck} stuck, "
            f"{len(self.violations)} violations in all"
        )

    def details(self) -> str:
        """Return how often each fault came, and each violation."""
        found = [f"{one.invariant} {one.subject}: {one.detail}" for one in self.violations]
        return "\n".join([", ".join(f"{kind} {count}" for kind, count in self.faults.most_common()), *found])


def draw(seed: int) -> Iterator[Fault]:
    """Yield the faults of a seed, without end."""
    chance = random.Random(seed)
    while True:
        (kind,) = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        wait = chance.expovariate(1 / _MEAN_WAIT_SECONDS)
        yield Fault(kind, wait, chance.uniform(0.2, _LONGEST_SECONDS), chance.random())


def run_round(
    platform: Platform, archive: Path, *, seed: int, seconds: float = float("inf"), faults: float = float("inf")
) -> Report:
    """Hurt a platform for so long or so often, let it come to rest and judge it.

    Args:
        platform: A fresh one, opened with `SETTINGS`.
        archive: What the jobs train on.
        seed: What draws the faults.
        seconds: After how many no fault follows.
        faults: After how many no fault follows.
    """
    report = Report(seed)
    with User(platform.caller, archive, seed=seed) as user, Mischief(platform, user.accepted) as mischief:
        ends_at = time.monotonic() + seconds
        for fault in draw(seed):
            mischief.heal_for(fault.wait_seconds)
            if time.monotonic() > ends_at or report.faults.total() >= faults:
                break
            if fault.kind in _OF_THE_USER:
                user.ask(fault.kind, fault.place)
                report.faults[fault.kind] += 1
            elif mischief.do(fault.kind, place=fault.place, lasts_seconds=fault.lasts_seconds):
                report.faults[fault.kind] += 1
        mischief.heal()
        user.finish(platform, _REST_SECONDS)
    return _judge(platform, user, report)


def _judge(platform: Platform, user: User, report: Report) -> Report:
    stuck = set(platform.unfinished())
    report.violations = platform.find_violations()
    history = platform.history()
    jobs, good = history.rows("jobs"), (JobStatus.SUCCEEDED, JobStatus.CANCELLED)
    unhappy = [job_id for job_id in user.accepted if jobs.get((job_id,), {}).get("status") not in good]
    report.jobs, report.attempts = len(user.accepted), len(history.rows("job_attempts"))
    report.stuck = len(stuck)
    report.lost = len(set(unhappy) - stuck)
    report.stale = sum(one.invariant == "V2" for one in report.violations)
    report.violations += [Violation("V1", job_id, "was lost or is stuck") for job_id in unhappy]
    report.violations += [Violation("V9", *found) for found in _judge_weights(history.rows("artifacts"), jobs, user)]
    return report


def _judge_weights(artifacts: Any, jobs: Any, user: User) -> Iterator[tuple[str, str]]:
    """Jobs of one seed that trained to their end have the same weights to the bit, whatever happened to them."""
    known: dict[int, str] = {}
    for job_id, seed in user.accepted.items():
        row = artifacts.get((job_id, "model.pth"))
        whole = jobs.get((job_id,), {}).get("stop_reason") == "epochs_done"
        if row is not None and whole and known.setdefault(seed, row["sha256"]) != row["sha256"]:
            yield job_id, "ended with other weights than another job of the same seed"

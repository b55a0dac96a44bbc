"""The random schedule: faults of every kind at once, for as long as is wanted; ``make chaos MINUTES=30 SEED=...``."""

import os
import random
import time
from itertools import islice
from pathlib import Path

import pytest
from chaos import schedule

MINUTES = float(os.environ.get("CHAOS_MINUTES") or 0.6)
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
_DATABASES = ("sqlite", "postgresql")
# A fresh platform every few minutes: a round is replayed by its own seed alone.
_ROUND_SECONDS = 300.0


def test_a_seed_draws_the_same_faults_again() -> None:
    first, again, other = (list(islice(schedule.draw(seed), 100)) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert {fault.kind for fault in islice(schedule.draw(5), 1000)} == set(schedule._WEIGHTS)


@pytest.mark.parametrize("database", _DATABASES)
@pytest.mark.timeout(240 + 3 * 60 * MINUTES)
def test_random_faults_lose_no_job_and_let_no_stale_write_pass(open_platform, archive: Path, database: str) -> None:
    """The seed of each round is printed: give it as SEED, and its minutes, to draw the same faults again."""
    left_seconds, seed = MINUTES * 60 / len(_DATABASES), SEED
    while left_seconds > 0:
        seconds = min(_ROUND_SECONDS, left_seconds)
        print(f"{time.strftime('%H:%M:%S')} {database}, {seconds:.0f} s, SEED={seed}", flush=True)
        with open_platform(database, settings=schedule.SETTINGS, step_seconds=0.05) as platform:
            report = schedule.run_round(platform, archive, seed=seed, seconds=seconds)
            print(report.line(), report.details(), sep="\n", flush=True)
            assert not report.violations, f"{report.line()}\n{report.details()}"
        left_seconds, seed = left_seconds - seconds, seed + 1

"""How many jobs do a thousand random faults lose, and how many writes of lost workers get through?

The fault suite's own schedule, on a fresh platform every 125 faults, on PostgreSQL and on SQLite: trainers, workers,
API, scheduler, sweeper and Redis killed, frozen and ended, messages lost and doubled, uploads dropped, and a user who
cancels, pauses, resumes, stops and retries. The suite's history checker judges each round.
"""

import secrets
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.command import run_command
from bench.figures import Figure, Goal, Sample
from bench.postgres import fresh_database, run_postgres

_TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(_TESTS))  # The schedule, its platform and its judge are the fault suite's.
_DATABASES = ("PostgreSQL", "SQLite")
_ROUNDS, _FAULTS = 4, 125
# The platform makes its tables first, by Alembic, which does so for one thread at a time.
_STARTING = threading.Lock()
_COUNTS: dict[str, Callable[[list[Any]], list[int]]] = {
    "faults": lambda reports: [one.faults.total() for one in reports],
    "jobs": lambda reports: [one.jobs for one in reports],
    "attempts": lambda reports: [one.attempts for one in reports],
    "jobs lost": lambda reports: [one.lost for one in reports],
    "stale writes accepted": lambda reports: [one.stale for one in reports],
    "jobs stuck": lambda reports: [one.stuck for one in reports],
    "violations of any invariant": lambda reports: [len(one.violations) for one in reports],
}
_WRONG = {
    "jobs lost": "jobs",
    "stale writes accepted": "writes",
    "jobs stuck": "jobs",
    "violations of any invariant": "violations",
}


def measure(quick: bool) -> Iterator[Figure]:
    """Yield what was lost, stuck and accepted wrongly, each of which must be nothing."""
    rounds, faults = (1, 15) if quick else (_ROUNDS, _FAULTS)
    seed = secrets.randbelow(10**6)
    with run_postgres() as server, ThreadPoolExecutor(len(_DATABASES)) as executor:
        lanes = [
            executor.submit(_run_lane, server, name, seed=seed, rounds=rounds, faults=faults) for name in _DATABASES
        ]
        reports = [report for lane in lanes for report in lane.result()]
    for name in ("faults", "jobs", "attempts"):
        values = _COUNTS[name](reports)
        yield Figure(f"{name} in a round, of {len(reports)}", Sample(tuple(map(float, values))), name)
    done = sum(_COUNTS["faults"](reports))
    for name, unit in _WRONG.items():
        total = Sample((float(sum(_COUNTS[name](reports))),))
        yield Figure(f"{name}, after {done} random faults", total, unit, Goal(36, "at most", 0))


def _run_lane(server: str, database: str, *, seed: int, rounds: int, faults: int) -> list[Any]:
    """Run the rounds of one database, one after the other, and return their reports."""
    return [_run(server, database, seed=seed + number, faults=faults) for number in range(rounds)]


def _run(server: str, database: str, *, seed: int, faults: int) -> Any:
    """Run one round on a fresh platform and return its report."""
    from chaos import schedule
    from chaos.platform import Platform
    from chaos.squares import write_squares

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-chaos-")))
        on_file = database == "SQLite"
        url = f"sqlite:///{folder}/lenet.db" if on_file else stack.enter_context(fresh_database(server))
        platform = Platform(folder / "platform", database_url=url, settings=schedule.SETTINGS, step_seconds=0.05)
        with _STARTING:
            stack.enter_context(platform)
        report = schedule.run_round(platform, write_squares(folder / "squares.zip", seed=0), seed=seed, faults=faults)
    print(f"  {database}, {report.line()}\n  {report.details()}", file=sys.stderr, flush=True)
    return report


if __name__ == "__main__":
    run_command("chaos", __doc__, measure)

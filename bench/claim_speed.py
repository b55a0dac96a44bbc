"""How many jobs a second are claimed on PostgreSQL? Four workers' processes on a backlog of ten tenants (goal 35).

Each claim is the worker's own: the next job in its fair order, its row, its attempt and its transition, in one
transaction that is on the disk. A round ends when nothing waits any more; the jobs of the rounds before are over.
"""

import time
from collections.abc import Iterator

from sqlalchemy import insert, update

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, collect
from bench.platform import BenchError
from bench.postgres import fresh_database, run_postgres
from bench.programs import ask_programs
from core.db.engine import Sessions, open_engine, open_sessions, read_clock, transaction
from core.db.migrations import migrate
from core.db.rows import JobRow, TenantRow
from core.domain.identifiers import new_id
from core.domain.jobs import JobStatus

_CLAIMERS = 4
_TENANTS = [f"tenant_{number}" for number in range(10)]
_START_SECONDS = 6.0


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the claims a second of four claimers and of one."""
    rounds, jobs = (1, 300) if quick else (7, 2000)
    with run_postgres() as server, fresh_database(server) as url:
        migrate(url)
        engine = open_engine(url)
        sessions = open_sessions(engine)
        _add_tenants(sessions)
        four = collect(lambda: _claim_all(sessions, url, jobs, claimers=_CLAIMERS), times=rounds)
        yield Figure(f"claims a second, {_CLAIMERS} workers, {jobs} jobs wait", four, "/s", Goal(35, "at least", 1000))
        one = collect(lambda: _claim_all(sessions, url, jobs, claimers=1), times=rounds)
        yield Figure(f"claims a second, one worker, {jobs} jobs wait", one, "/s")
        yield Figure("one claim, one worker", Sample(tuple(1000 / speed for speed in one.values)), "ms")
        engine.dispose()


def _add_tenants(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        now = read_clock(session)
        session.add_all([TenantRow(id=name, name=name, created_at=now) for name in _TENANTS])


def _claim_all(sessions: Sessions, url: str, jobs: int, *, claimers: int) -> float:
    """Return the claims a second until none of ``jobs`` waits."""
    _queue(sessions, jobs)
    begins_at = time.monotonic() + _START_SECONDS
    answers = ask_programs("bench.claimer", ["--database", url, "--at", str(begins_at)], count=claimers)
    if sum(answer["claims"] for answer in answers) != jobs:
        raise BenchError(f"{jobs} jobs were claimed {sum(answer['claims'] for answer in answers)} times")
    return jobs / (max(float(answer["ended_at"]) for answer in answers) - begins_at)


def _queue(sessions: Sessions, jobs: int) -> None:
    """End what the last round has claimed, and let so many jobs wait."""
    with transaction(sessions) as session:
        now = read_clock(session)
        session.execute(update(JobRow).values(status=JobStatus.SUCCEEDED))
        common = {
            "dataset_id": "dataset",
            "name": "job",
            "tags": [],
            "config": {},
            "priority": 5,
            "queue": "auto",
            "status": JobStatus.QUEUED,
            "max_attempts": 3,
            "created_at": now,
            "updated_at": now,
        }
        owners = (_TENANTS[number % len(_TENANTS)] for number in range(jobs))
        session.execute(insert(JobRow), [{**common, "id": new_id("job"), "tenant_id": owner} for owner in owners])


if __name__ == "__main__":
    run_command("claim_speed", __doc__, measure)

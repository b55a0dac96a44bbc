"""A job's history as server-sent events.

An event's id is a number: the milliseconds of the change in SQL, times a million, plus a count of the ``progress``
events since. A client that comes back with ``Last-Event-ID`` gets every later ``status`` and ``epoch`` event;
``progress`` is only ever as it stands now.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from api.schemas.base import Shape
from api.schemas.jobs import Job, shape_epoch, shape_job
from core.db.engine import Sessions, transaction
from core.db.rows import EpochRow, JobTransitionRow
from core.domain.jobs import ENDED, JobStatus
from core.domain.quotas import Limits
from core.errors import LenetError, NotFoundError
from core.services import jobs

POLL_SECONDS = 0.5
LONGEST_SECONDS = 3600.0
_KEEP_ALIVE_SECONDS = 15.0
_PROGRESS_PLACES = 1_000_000
_ID_DIGITS = 19
_Change = JobTransitionRow | EpochRow


@dataclass(frozen=True)
class Event:
    """One event: its kind, its id and the resource."""

    kind: str
    id: int
    data: Shape

    def encode(self) -> bytes:
        """Return it as it goes over the wire."""
        return f"event: {self.kind}\nid: {self.id}\ndata: {self.data.model_dump_json(by_alias=True)}\n\n".encode()


class Follower:
    """Reads a job again and again and says what is new.

    Args:
        sessions: Makes sessions of the database.
        tenant_id: Whose job it is.
        job_id: The job.
        limits: Those of a tenant that has none of its own.
        last_event_id: What the client has seen; ``None``: nothing.

    Attributes:
        ended: Whether nothing more is to come.
    """

    def __init__(
        self, sessions: Sessions, tenant_id: str, job_id: str, *, limits: Limits, last_event_id: str | None = None
    ) -> None:
        self.ended = False
        self._sessions = sessions
        self._tenant_id = tenant_id
        self._job_id = job_id
        self._limits = limits
        self._updated_at: datetime | None = None
        seen = _parse_id(last_event_id)
        self._progress = seen % _PROGRESS_PLACES
        self._seen = seen - self._progress

    def look(self) -> list[Event]:
        """Return what is new; raises `NotFoundError` where the job is gone."""
        with transaction(self._sessions, read_only=True) as session:
            job = jobs.get_job(session, self._tenant_id, self._job_id)
            if job.updated_at == self._updated_at:
                return []
            self._updated_at = job.updated_at
            rows: list[_Change] = [*jobs.list_epochs(session, job.id), *jobs.list_transitions(session, job.id)]
            # Read after its history, so that no event shows a job that is older than the event.
            job = jobs.get_job(session, self._tenant_id, self._job_id)
            shape = shape_job(
                job,
                jobs_ahead=jobs.count_jobs_ahead(session, job),
                status_reason=jobs.Waits(session, self._tenant_id, self._limits).explain(job),
            )
        return self._list_new(shape, _shape_history(rows, shape))

    def _list_new(self, job: Job, history: list[Event]) -> list[Event]:
        new = [event for event in history if event.id > self._seen]
        if new:
            self._seen, self._progress = new[-1].id, 0
        last = history[-1].data
        self.ended = isinstance(last, Job) and last.status in ENDED
        if job.status == JobStatus.RUNNING and job.progress.batch is not None:
            self._progress = min(self._progress + 1, _PROGRESS_PLACES - 1)
            new.append(Event("progress", self._seen + self._progress, job))
        return new


def follow(
    follower: Follower,
    *,
    serving: Callable[[], bool],
    first: list[Event],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """Yield events as they come, until the job has ended, an hour is over or the server stops.

    Args:
        follower: Reads the job.
        serving: Whether the server goes on.
        first: What the follower saw first.
        sleep: How to wait.
        clock: Seconds that only grow.
    """
    began = written = clock()
    events = first
    while True:
        if events:
            written = clock()
            yield b"".join(event.encode() for event in events)
        if follower.ended or not serving() or clock() - began > LONGEST_SECONDS:
            return
        if clock() - written > _KEEP_ALIVE_SECONDS:
            # Only a write tells that the client has gone, and proxies cut what is silent.
            written = clock()
            yield b": still here\n\n"
        sleep(POLL_SECONDS)
        try:
            events = follower.look()
        except NotFoundError:
            return
        except LenetError:
            events = []  # The database is away: the client is kept, and nothing is lost, since SQL remembers.


def _parse_id(text: str | None) -> int:
    """Return the number of an event's id; 0 for what is none of ours."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) <= _ID_DIGITS else 0


def _shape_history(rows: Sequence[_Change], job: Job) -> list[Event]:
    """Return every ``status`` and ``epoch`` event of a job, in the order in which they happened."""
    events: list[Event] = []
    for row in sorted(rows, key=_place):
        # Within one millisecond the order of the sorted rows decides.
        after = events[-1].id // _PROGRESS_PLACES + 1 if events else 0
        number = max(int(_moment(row).timestamp() * 1000), after) * _PROGRESS_PLACES
        events.append(_shape_event(row, number, job))
    return events


def _moment(row: _Change) -> datetime:
    return row.finished_at if isinstance(row, EpochRow) else row.at


def _place(row: _Change) -> tuple[datetime, int]:
    """Return where a row stands in the history: of one millisecond a start comes first, and an end last."""
    if isinstance(row, EpochRow):
        return row.finished_at, 1
    return row.at, 2 if row.after in ENDED else 0


def _shape_event(row: _Change, number: int, job: Job) -> Event:
    if isinstance(row, EpochRow):
        return Event("epoch", number, shape_epoch(row))
    # The job as it is now, but in the state and attempt of then.
    past = job.model_copy(update={"status": JobStatus(row.after), "attempt": row.attempt})
    return Event("status", number, past)

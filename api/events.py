"""A job's history as server-sent events.

An event's id is a number: the milliseconds of the change in SQL, times a million, plus a count of the ``progress``
events since. A client that comes back with ``Last-Event-ID`` gets every later ``status`` and ``epoch`` event;
``progress`` is only ever as it stands now.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from api.schemas.base import Shape
from api.schemas.jobs import Job, shape_epoch, shape_job
from core.db.engine import Sessions, transaction
from core.db.rows import EpochRow, JobRow, JobTransitionRow
from core.domain.jobs import ENDED, JobStatus
from core.errors import LenetError, NotFoundError
from core.services import jobs

POLL_SECONDS = 0.5
LONGEST_SECONDS = 3600.0
_KEEP_ALIVE_SECONDS = 15.0
_PROGRESS_PLACES = 1_000_000


@dataclass(frozen=True)
class Event:
    """One event: its kind, its id and the resource."""

    kind: str
    id: int
    data: Shape

    def encode(self) -> bytes:
        """Return it as it goes over the wire."""
        return f"event: {self.kind}\nid: {self.id}\ndata: {self.data.model_dump_json(by_alias=True)}\n\n".encode()


@dataclass
class Follower:
    """Reads a job again and again and says what is new.

    Attributes:
        seen: The id of the last ``status`` or ``epoch`` event that the client has.
        ended: Whether nothing more is to come.
    """

    sessions: Sessions
    tenant_id: str
    job_id: str
    seen: int = 0
    ended: bool = False
    _updated_at: datetime | None = field(default=None, init=False)
    _progress: int = field(default=0, init=False)

    def look(self) -> list[Event]:
        """Return what is new; raises `NotFoundError` where the job is gone."""
        with transaction(self.sessions, read_only=True) as session:
            job = jobs.get_job(session, self.tenant_id, self.job_id)
            if job.updated_at == self._updated_at:
                return []
            self._updated_at = job.updated_at
            shape = shape_job(job, jobs_ahead=jobs.count_jobs_ahead(session, job))
            history = _read_history(session, shape)
        return self._new_events(job, shape, history)

    def _new_events(self, job: JobRow, shape: Job, history: list[Event]) -> list[Event]:
        new = [event for event in history if event.id > self.seen]
        if new:
            self.seen, self._progress = new[-1].id, 0
        self.ended = JobStatus(job.status) in ENDED
        if job.status == JobStatus.RUNNING and job.progress and self._progress < _PROGRESS_PLACES - 1:
            self._progress += 1
            new.append(Event("progress", self.seen + self._progress, shape))
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


def parse_last_event_id(text: str | None) -> int:
    """Return the id that a client has last seen, without its count of progress events; 0 for none of ours."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 19:
        return 0
    return int(text) // _PROGRESS_PLACES * _PROGRESS_PLACES


def _read_history(session: Session, job: Job) -> list[Event]:
    """Return every ``status`` and ``epoch`` event of a job, in the order in which they happened."""
    rows: list[JobTransitionRow | EpochRow] = [
        *jobs.list_epochs(session, job.id),
        *jobs.list_transitions(session, job.id),
    ]
    rows.sort(key=_moment)
    events: list[Event] = []
    for row in rows:
        # Within one millisecond the order of the sorted rows decides.
        after = events[-1].id // _PROGRESS_PLACES + 1 if events else 0
        number = max(int(_moment(row).timestamp() * 1000), after) * _PROGRESS_PLACES
        events.append(_shape_event(row, number, job))
    return events


def _moment(row: JobTransitionRow | EpochRow) -> datetime:
    return row.finished_at if isinstance(row, EpochRow) else row.at


def _shape_event(row: JobTransitionRow | EpochRow, number: int, job: Job) -> Event:
    if isinstance(row, EpochRow):
        return Event("epoch", number, shape_epoch(row))
    # The job as it is now, but in the state and attempt of then.
    past = job.model_copy(update={"status": JobStatus(row.after), "attempt": row.attempt})
    return Event("status", number, past)

"""The life of a job: its states and the only transitions between them.

::

    queued ──▶ running ──▶ succeeded | failed | cancelled
      ▲          │  │
      │          │  └─▶ paused ──▶ queued (resumed) | cancelled
      └──────────┘
      a lost worker, a preemption or a retry of what failed or was cancelled
"""

from enum import StrEnum

from core.errors import IllegalTransitionError


class JobStatus(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.PAUSED, JobStatus.QUEUED}
    ),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELLED: frozenset({JobStatus.QUEUED}),
}


class AttemptEnd(StrEnum):
    """Why an attempt ended; written once in its row."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    PREEMPTED = "preempted"
    WORKER_LOST = "worker_lost"
    WORKER_ERROR = "worker_error"
    TRAINER_KILLED = "trainer_killed"
    TRAINER_CRASHED = "trainer_crashed"
    OUT_OF_MEMORY = "out_of_memory"
    STALLED = "stalled"
    UNAVAILABLE = "unavailable"


class StopReason(StrEnum):
    """Why a training that succeeded ended when it did."""

    EPOCHS_DONE = "epochs_done"
    EARLY_STOPPING = "early_stopping"
    STOPPED = "stopped"


def check_transition(before: JobStatus, after: JobStatus) -> None:
    """Raise `IllegalTransitionError` where a job may not go from ``before`` to ``after``."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransitionError(f"A job that is {before} cannot become {after}.")

"""Wake-ups: what is sent to a queue after a commit. A lost one is sent again by the sweeper."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from core.domain import tasks
from core.domain.placement import list_live_queues


@dataclass(frozen=True)
class WakeUp:
    """One message: the task's name, its queue, and the id that it is about."""

    task: str
    queue: tasks.Queue
    resource_id: str


class Sender(Protocol):
    """Puts wake-ups on queues."""

    def send(self, message: WakeUp) -> None:
        """Send one message; raises `core.errors.UnavailableError` where the queue does not answer in seconds."""

    def depth(self, queue: tasks.Queue) -> int:
        """Return how many messages wait on a queue; raises `core.errors.UnavailableError` likewise."""


def ingest_message(dataset_id: str) -> WakeUp:
    """Return the wake-up for a dataset that waits to be read."""
    return WakeUp(tasks.INGEST, tasks.INGEST_QUEUE, dataset_id)


def evaluate_message(evaluation_id: str) -> WakeUp:
    """Return the wake-up for an evaluation that waits."""
    return WakeUp(tasks.EVALUATE, tasks.EVALUATE_QUEUE, evaluation_id)


def train_messages(job_id: str, *, wanted: str, live: Collection[tasks.Queue]) -> list[WakeUp]:
    """Return the wake-ups for a job: one for each kind of worker that lives and can train it.

    No other kind gets one, so that none is swallowed by a worker that cannot train the job.

    Args:
        job_id: The job.
        wanted: What it wants of a worker: a `core.domain.placement.Want`.
        live: Queues that a living worker listens to.
    """
    return [WakeUp(tasks.TRAIN, queue, job_id) for queue in list_live_queues(wanted, live)]

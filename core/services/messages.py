"""Wake-ups: what is sent to a queue after a commit. A lost one is sent again by the sweeper."""

from dataclasses import dataclass
from typing import Protocol

from core.domain import tasks


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


def train_messages(job_id: str, *, wanted: str, gpu_lives: bool) -> list[WakeUp]:
    """Return the wake-ups for a job that wants ``cpu``, ``gpu`` or ``auto``: a GPU that is there first."""
    queues: list[tasks.Queue] = {
        "cpu": [tasks.CPU_QUEUE],
        "gpu": [tasks.GPU_QUEUE],
        "auto": [tasks.GPU_QUEUE, tasks.CPU_QUEUE] if gpu_lives else [tasks.CPU_QUEUE],
    }[wanted]
    return [WakeUp(tasks.TRAIN, queue, job_id) for queue in queues]

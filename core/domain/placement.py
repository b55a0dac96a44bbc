"""Which workers can take which jobs: what a job wants of a worker, and the queue that wakes such a worker."""

from collections.abc import Collection
from typing import Literal

from core.domain.engines import EngineName
from core.domain.tasks import CPU_QUEUE, GPU_QUEUE, NUMPY_QUEUE, Queue
from core.domain.training_options import TrainingConfig

# torch on a processor, torch on a GPU, torch on either; NumPy, which computes on processors alone.
Want = Literal["cpu", "gpu", "auto", "numpy"]

_BY_DEVICE: dict[str, Want] = {"cpu": "cpu", "cuda": "gpu", "auto": "auto"}
_BY_QUEUE: dict[Queue, tuple[Want, ...]] = {
    CPU_QUEUE: ("cpu", "auto", "numpy"),
    GPU_QUEUE: ("gpu", "auto"),
    NUMPY_QUEUE: ("numpy",),
}
WANTS: tuple[Want, ...] = ("cpu", "gpu", "auto", "numpy")
TRAIN_QUEUES: tuple[Queue, ...] = tuple(_BY_QUEUE)
_NEEDS: dict[str, str] = {
    "cpu": "one with torch on a processor",
    "gpu": "one with torch on a GPU",
    "auto": "one with torch",
    "numpy": "one with NumPy on a processor",
}


def choose_want(config: TrainingConfig) -> Want:
    """Return what a job wants; one of the NumPy engine would waste a GPU's slot."""
    return "numpy" if config.engine == "numpy" else _BY_DEVICE[config.device]


def choose_queue(device: str, engines: Collection[EngineName]) -> Queue:
    """Return the queue that a worker listens to: each message on it is of a job that this worker can train.

    Args:
        device: ``cpu`` or ``cuda``.
        engines: What the worker has to compute with.
    """
    if "torch" not in engines:
        return NUMPY_QUEUE
    return GPU_QUEUE if device == "cuda" else CPU_QUEUE


def list_wants(queue: Queue) -> tuple[Want, ...]:
    """Return what the workers that listen to a queue can train."""
    return _BY_QUEUE[queue]


def list_live_queues(want: str, live: Collection[Queue]) -> list[Queue]:
    """Return the queues that a job is announced on: where special workers live, and always that of any.

    Args:
        want: What the job wants.
        live: Queues that a living worker listens to.
    """
    *special, general = list_queues(want)
    return [*(queue for queue in special if queue in live), general]


def list_queues(want: str) -> list[Queue]:
    """Return the queues whose workers can train a job: first those of special workers, last the one of any."""
    queues = [queue for queue, wants in _BY_QUEUE.items() if want in wants]
    return sorted(queues, key=lambda queue: queue == CPU_QUEUE)


def name_need(want: str) -> str:
    """Return in words which worker a job needs."""
    return _NEEDS[want]

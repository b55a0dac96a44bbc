"""Names of the queues and of the tasks on them: the API sends by name, the worker registers under it."""

from collections.abc import Mapping
from typing import Final, Literal

TRAIN = "lenet.train"
INGEST = "lenet.ingest"
SWEEP = "lenet.sweep"
COLLECT = "lenet.collect"

Queue = Literal["cpu", "gpu", "numpy", "ingest"]
CPU_QUEUE: Queue = "cpu"
GPU_QUEUE: Queue = "gpu"
# Of workers without torch.
NUMPY_QUEUE: Queue = "numpy"
INGEST_QUEUE: Queue = "ingest"

# What may be on a queue; a worker drops every other message.
TASKS_OF: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys((CPU_QUEUE, GPU_QUEUE, NUMPY_QUEUE), frozenset({TRAIN})),
    INGEST_QUEUE: frozenset({INGEST, SWEEP, COLLECT}),
}
# Those of which a message names what it is about.
WITH_ID = frozenset({TRAIN, INGEST})

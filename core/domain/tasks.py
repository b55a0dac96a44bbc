"""Names of the queues and of the tasks on them: the API sends by name, the worker registers under it."""

from collections.abc import Mapping
from typing import Final, Literal

TRAIN = "lenet.train"
INGEST = "lenet.ingest"
EVALUATE = "lenet.evaluate"
SWEEP = "lenet.sweep"
COLLECT = "lenet.collect"

Queue = Literal["cpu", "gpu", "numpy", "ingest", "evaluate"]
CPU_QUEUE: Queue = "cpu"
GPU_QUEUE: Queue = "gpu"
# Of workers without torch.
NUMPY_QUEUE: Queue = "numpy"
INGEST_QUEUE: Queue = "ingest"
# Of the same workers as datasets, in a slot of its own: neither keeps the other waiting.
EVALUATE_QUEUE: Queue = "evaluate"

# What may be on a queue; a worker drops every other message.
TASKS_OF: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys((CPU_QUEUE, GPU_QUEUE, NUMPY_QUEUE), frozenset({TRAIN})),
    INGEST_QUEUE: frozenset({INGEST, SWEEP, COLLECT}),
    EVALUATE_QUEUE: frozenset({EVALUATE}),
}
# Those of which a message names what it is about.
WITH_ID = frozenset({TRAIN, INGEST, EVALUATE})

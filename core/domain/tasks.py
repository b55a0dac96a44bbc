"""Names of the queues and of the tasks on them: the API sends by name, the worker registers under it."""

from typing import Literal

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

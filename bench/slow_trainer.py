"""A trainer that is slow on purpose and writes down what it does: the hook of the benchmarks that kill.

`bench.steps.Slowness` says by the environment what a step is, an epoch or a batch, and how many seconds longer each
takes, without any use of the processor. A step's number counts from the job's
first, over all its attempts. A batch is written down before it is trained, an epoch when it is over, right before the
supervisor hears of it. Nothing else differs from the trainer as it is: checkpoints and resume are its own.
"""

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.steps import BATCHES_VARIABLE, FILE_VARIABLE, SECONDS_VARIABLE, UNIT_VARIABLE, StepWriter
from worker import trainer


class SlowReporter(trainer.Reporter):
    """The trainer's reporter, which is asked for a command before each batch and told of each epoch."""

    epoch_number, batch_number = 1, 0

    def begin_at(self, resume_from: str | None) -> None:
        """Note where the attempt begins; the supervisor names the file of a checkpoint by its place."""
        self._writer = StepWriter(Path(os.environ[FILE_VARIABLE]))
        if resume_from is not None:
            epoch, batch = Path(resume_from).name.split("-")[1:]
            self.epoch_number, self.batch_number = int(epoch), int(batch)

    def command(self) -> Any:
        """Wait and write, where batches are the steps, then answer as ever."""
        self.batch_number += 1
        if os.environ[UNIT_VARIABLE] == "batch":
            self._step((self.epoch_number - 1) * int(os.environ[BATCHES_VARIABLE]) + self.batch_number)
        return super().command()

    def epoch(self, result: Any) -> None:
        """Wait and write, where epochs are the steps, then tell as ever."""
        if os.environ[UNIT_VARIABLE] == "epoch":
            self._step(result.epoch)
        self.epoch_number, self.batch_number = result.epoch + 1, 0
        super().epoch(result)

    def _step(self, number: int) -> None:
        time.sleep(float(os.environ[SECONDS_VARIABLE]))
        self._writer.write(number)


def _train(order: dict[str, Any], reporter: SlowReporter) -> None:
    reporter.begin_at(order["resume_from"])
    _usual_train(order, reporter)


import_module(trainer.PRELOAD)
_usual_train = trainer._train  # noqa: SLF001 - the hook itself
trainer.Reporter, trainer._train = SlowReporter, _train  # type: ignore[misc,assignment]  # noqa: SLF001 - the hook itself

"""The platform's own training and all of its files, called directly: no API, no queue, no database, no store.

``python -m bench.peers.direct --pack FILE --config JSON --threads N --nice N`` prints the seconds of the calls alone,
without the start of the process.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import core.training.preload  # noqa: F401 - a trainer has it loaded too
from core.domain.training_config import TrainingConfig
from core.reporting.package import write_package
from core.training.contract import Command, EpochResult, Progress, TrainingJob
from core.training.trainer import train


class NobodyListens:
    """An observer that hears everything and does nothing."""

    def progress(self, progress: Progress) -> None:
        """Hear how far the training is."""

    def epoch(self, result: EpochResult) -> None:
        """Hear of an epoch."""

    def checkpoint(self, path: Path, *, epoch: int, batch: int) -> None:
        """Hear of a checkpoint."""

    def log(self, message: str) -> None:
        """Hear a sentence."""

    def command(self) -> Command | None:
        """Want nothing."""
        return None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    options = parser.parse_args()
    os.nice(options.nice)
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(
            config=TrainingConfig.model_validate(json.loads(options.config)),
            pack=options.pack,
            work_dir=Path(folder),
            threads=options.threads,
        )
        started = time.perf_counter()
        result = train(job, NobodyListens())
        assert result is not None
        write_package(result.files[0].path.parent, tuple(file.name for file in result.files))
        print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()

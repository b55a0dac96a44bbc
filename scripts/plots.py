"""Draws the pictures of ``docs/explanation/results.md``: a short training on scikit-learn's handwritten digits.

``python scripts/plots.py`` writes them into ``docs/plots``; it takes some seconds.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.datasets.images import to_array
from core.datasets.packs import PackWriter
from core.domain.training_config import resolve
from core.reporting.figures import styled
from core.reporting.package import read_leavings
from core.reporting.plots import draw_figures
from core.training import Progress, TrainingJob, train
from core.training.contract import EpochResult
from demo.digits import list_digits

FOLDER = Path(__file__).parents[1] / "docs" / "plots"
SIZE = 28
SPLITS = {"train": 0, "test": 2}
# Few epochs of the classic net: a page about mistakes needs some.
CONFIG = {"preset": "lenet5-relu", "image_size": SIZE, "epochs": 12, "batch_size": 32, "seed": 1}


class Printer:
    """The observer of the training: prints each epoch."""

    def progress(self, progress: Progress) -> None:
        """Pass over how far it is."""

    def epoch(self, result: EpochResult) -> None:
        """Print an epoch."""
        print(f"epoch {result.epoch}: validation accuracy {result.val_accuracy:.4f}")

    def checkpoint(self, path: Path, *, epoch: int, batch: int) -> None:
        """Pass over a checkpoint."""

    def log(self, message: str) -> None:
        """Print a sentence."""
        print(message)

    def command(self) -> None:
        """Want nothing."""


def write_pack(path: Path) -> None:
    """Write the digits as ingest would."""
    names, pictures = zip(*list_digits(), strict=True)
    writer = PackWriter(path, image_size=SIZE, color_mode="grayscale")
    writer.append(
        np.stack([to_array(Image.fromarray(one), image_size=SIZE, color_mode="grayscale") for one in pictures])
    )
    parts = [name.split("/") for name in names]
    writer.finish(
        labels=np.array([int(digit) for _, digit, _ in parts], np.int32),
        splits=np.array([SPLITS[split] for split, _, _ in parts], np.uint8),
        paths=names,
        classes=[str(digit) for digit in range(10)],
    )


def main() -> None:
    """Train, draw and write every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pack(folder / "pack")
        train(TrainingJob(resolve(CONFIG), folder / "pack", folder), Printer())
        # As text that is the same each time: no date, no random names.
        with styled(), mpl.rc_context({"svg.hashsalt": "lenet"}):
            for plot, figure in draw_figures(read_leavings(folder)):
                path = FOLDER / f"{plot}.svg"
                figure.savefig(path, format="svg", metadata={"Date": None})
                print(f"docs/plots/{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

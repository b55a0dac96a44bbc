"""The model's answers to the test split, kept so that ensembles can be measured without the images."""

import hashlib
from pathlib import Path

import numpy as np

from core.datasets.packs import Pack
from core.training.engines import Logits
from core.training.evaluation import probabilities
from core.training.images import Positions


def write_test_predictions(path: Path, pack: Pack, positions: Positions, logits: Logits, *, archive: str) -> None:
    """Write what `core.domain.exports.TEST_PREDICTIONS` describes.

    Args:
        path: The file.
        pack: The dataset.
        positions: Its test images.
        logits: The answers to them ``(images, classes)``.
        archive: SHA-256 of what the dataset was uploaded as: names and labels may be those of other pictures.
    """
    labels = pack.labels[positions].astype(np.int32)
    digest = hashlib.sha256(archive.encode() + labels.tobytes())
    for position in positions.tolist():
        digest.update(pack.image_path(position).encode() + b"\0")
    with path.open("wb") as file:
        np.savez_compressed(
            file, probabilities=probabilities(logits), labels=labels, images=np.array(digest.hexdigest())
        )

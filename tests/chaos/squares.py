"""A data set so small that a training is over in seconds, and the config of such a training."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

# Eleven steps an epoch; each waits a tenth of a second (`Platform`), so that a training can be hit anywhere.
JOB = {
    "preset": "lenet5-relu",
    "engine": "numpy",
    "epochs": 4,
    "batch_size": 16,
    "early_stopping": None,
    "precision": "fp32",
    "device": "cpu",
    "seed": 7,
}


def write_squares(path: Path, *, seed: int) -> Path:
    """Write a ZIP of three classes of squares, bright at the top, in the middle or at the bottom; return its path."""
    draw = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as file:
        for split, count in (("train", 64), ("test", 16)):
            for number in range(count):
                for place, name in enumerate(("top", "middle", "bottom")):
                    pixels = draw.integers(0, 120, (28, 28))
                    pixels[4 + 7 * place : 11 + 7 * place, 6:22] += 100
                    buffer = io.BytesIO()
                    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
                    file.writestr(f"{split}/{name}/{number}.png", buffer.getvalue())
    return path

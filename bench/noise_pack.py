"""A pack of noise: a step takes as long whatever its images show."""

from pathlib import Path

CLASSES = 10


def write_noise_pack(path: Path, *, images: int) -> Path:
    """Write a pack of so many grayscale training images of 32×32 and return its path."""
    import numpy as np

    from core.datasets.packs import PackWriter

    generator = np.random.default_rng(0)
    writer = PackWriter(path, image_size=32, color_mode="grayscale")
    writer.append(generator.integers(0, 256, (images, 32, 32, 1), np.uint8))
    writer.finish(
        labels=generator.integers(0, CLASSES, images, np.int32),
        splits=np.zeros(images, np.uint8),
        paths=[""] * images,
        classes=[str(number) for number in range(CLASSES)],
    )
    return path

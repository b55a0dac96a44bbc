"""Makes a ZIP of PNG files out of MNIST's (or Fashion-MNIST's) IDX files: ``python -m bench.mnist_zip OUT.zip``."""

import argparse
import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_IMAGES_MAGIC, _LABELS_MAGIC = b"\0\0\x08\x03", b"\0\0\x08\x01"
_PARTS = {"train": "train", "test": "t10k"}


def read_idx(path: Path, magic: bytes) -> npt.NDArray[np.uint8]:
    """Return the array of a gzipped IDX file of unsigned bytes."""
    data = gzip.decompress(path.read_bytes())
    if data[:4] != magic:
        raise SystemExit(f"{path.name} is not the IDX file that it should be")
    dimensions = magic[3]
    shape = [int.from_bytes(data[4 + 4 * place : 8 + 4 * place], "big") for place in range(dimensions)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def write_zip(folder: Path, target: Path, *, limit: int | None = None) -> int:
    """Write ``train/<digit>/<index>.png`` and ``test/…`` and return how many images there are.

    Args:
        folder: Has the four ``*.gz`` files.
        target: The ZIP to write; entries are stored, PNG being packed already.
        limit: Most images of each split; by default all.
    """
    count = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for split, prefix in _PARTS.items():
            images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", _IMAGES_MAGIC)[:limit]
            labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", _LABELS_MAGIC)[:limit]
            for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "PNG")
                archive.writestr(zipfile.ZipInfo(f"{split}/{label}/{index:05}.png"), png.getvalue())
                count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, help="the ZIP to write")
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "fashion-mnist"])
    parser.add_argument("--limit", type=int, help="most images of each split")
    parser.add_argument("--data", type=Path, default=os.environ.get("LENET_TEST_DATA"), help="folder of real images")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of real images by --data or LENET_TEST_DATA")
    print(write_zip(Path(options.data) / options.dataset, options.target, limit=options.limit), "images")


if __name__ == "__main__":
    main()

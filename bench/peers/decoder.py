"""Decodes every image of a ZIP by zipfile and Pillow, in one process, and keeps nothing.

``python -m bench.peers.decoder ARCHIVE.zip`` prints the seconds of that alone, without the start of the process.
"""

import io
import json
import sys
import time
import zipfile
from pathlib import Path

from PIL import Image


def decode(archive: Path) -> int:
    """Return how many images there are."""
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        for name in names:
            with Image.open(io.BytesIO(opened.read(name)), formats=("PNG", "JPEG")) as image:
                image.load()
    return len(names)


def main() -> None:
    started = time.perf_counter()
    images = decode(Path(sys.argv[1]))
    print(json.dumps({"seconds": time.perf_counter() - started, "images": images}))


if __name__ == "__main__":
    main()

"""CIFAR-10 as a ZIP of JPEGs, whole or thinned out."""

import os
import sys
import zipfile
from pathlib import Path

IMAGES = 60_000


def find_archive() -> Path:
    """Return the ZIP; ends the program where ``LENET_TEST_DATA`` does not lead to it."""
    archive = Path(os.environ.get("LENET_TEST_DATA", "")) / "cifar10-jpg.zip"
    if not archive.exists():
        sys.exit("LENET_TEST_DATA must name the folder that holds cifar10-jpg.zip.")
    return archive


def make_archive(target: Path, *, limit: int | None = None) -> Path:
    """Return a ZIP of about ``limit`` images, written to ``target``; the whole one, where it lies, without a limit."""
    return thin_out(find_archive(), target, every=IMAGES // limit) if limit else find_archive()


def thin_out(archive: Path, target: Path, *, every: int) -> Path:
    """Copy one of ``every`` entries of a ZIP into another and return ``target``."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as thinned:
        for name in source.namelist()[::every]:
            thinned.writestr(zipfile.ZipInfo(name), source.read(name))
    return target

"""Small disks of their own, which a test may fill to the last byte."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

_PIECE = b"\0" * 65_536


@contextlib.contextmanager
def small_disk(require, folder: Path, *options: str) -> Iterator[Path]:
    """Put an empty disk of its own, with these options of a tmpfs, where ``folder`` is."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    require(mounted.returncode == 0, f"a disk of its own cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte free on a disk until the end of the block."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (len(_PIECE), 512, 1):
            with contextlib.suppress(OSError):
                while file.write(_PIECE[:size]):
                    pass
    try:
        yield
    finally:
        ballast.unlink()

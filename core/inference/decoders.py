"""Decoding the images of predictions in processes of their own: hostile images meet these, not the API.

The API's process holds the keys to database and store, and the requests of everybody: an image that ends or takes over
its decoder must reach neither. Each process (`core.inference.decoder`) is confined by `core.sandbox` and decodes one
image at a time; small ones are sent and answered some together, for the way there takes longer than they do. Whoever
asks next may get another process. One that dies, takes too long, or has read many images is replaced.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from core import logs
from core.domain.datasets import ColorMode
from core.errors import InvalidError, UnavailableError
from core.inference.frames import CHANNELS, LENGTH, REQUEST_HEAD, Request, read_exactly
from core.sandbox.confinement import bare_environment
from core.sandbox.notes import note_unconfined

_START_SECONDS = 30.0
_MOST_REFUSAL_BYTES = 2**14
_MOST_IMAGES = 10_000
# So much is sent and answered together, or one image.
_IMAGES_TOGETHER = 128
_FILE_BYTES_TOGETHER = 2**18
_PIXEL_BYTES_TOGETHER = 2**18
_BYTES_RECEIVED = 2**16
_CHANNELS_OF = {mode: channels for channels, mode in CHANNELS.items()}
_CODES = frozenset({"unreadable_image", "image_too_large"})
_OUT_OF_TURN = "the decoder speaks out of turn"

_log = logs.get(__name__)

Pixels = npt.NDArray[np.uint8]


class ReadImages(Protocol):
    """Brings image files into a network's form, as `core.datasets.images.read_array` does."""

    def __call__(
        self, files: Sequence[bytes], *, image_size: int, color_mode: ColorMode, max_pixels: int
    ) -> Iterator[Pixels | InvalidError]:
        """Yield for each file uint8 ``(image_size, image_size, channels)``, or why there are none."""


class ImageDecoders:
    """Processes that decode images, started as they are needed, and kept.

    Args:
        processes: Most processes.
        memory_bytes: Address space of each.
        timeout_seconds: Longest time that the images of one `reader` take together, waiting included.
    """

    def __init__(self, *, processes: int, memory_bytes: int, timeout_seconds: float) -> None:
        self._memory_bytes = memory_bytes
        self._timeout_seconds = timeout_seconds
        self._free = threading.Semaphore(processes)
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()
        # To the kernel, the parent that a decoder ends with is the thread that has started it: one that stays.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoders")

    def reader(self) -> ReadImages:
        """Return what reads the images of one request, some of them or in several threads.

        It yields the errors that `core.datasets.images.read_array` raises, `InvalidError` too for an image that ends
        the decoder (``unreadable_image``) or takes too long (``decoding_too_long``). It raises `UnavailableError` where
        no decoder is free for so long.
        """
        time_left = _TimeLeft(self._timeout_seconds)

        def read(
            files: Sequence[bytes], *, image_size: int, color_mode: ColorMode, max_pixels: int
        ) -> Iterator[Pixels | InvalidError]:
            request = Request(0, image_size, _CHANNELS_OF[color_mode], max_pixels, 0.0)
            for some in _group(files, request):
                with time_left.until() as deadline:
                    found = self._read(some, request, deadline)
                yield from found

        return read

    def start_ahead(self) -> None:
        """Have a process started in the background, so that the first image waits for none."""
        self._starter.submit(self._start_idle)

    def _start_idle(self) -> None:
        if self._free.acquire(blocking=False):
            try:
                self._add_idle()
            finally:
                self._free.release()

    def _add_idle(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # whoever needs one tries again, and hears of it
            decoder = _Decoder(self._memory_bytes)
            with self._lock:
                self._idle.insert(0, decoder)

    def close(self) -> None:
        """End all processes; nobody decodes any more."""
        self._starter.shutdown()
        with self._lock:
            ended, self._idle = self._idle, []
        for decoder in ended:
            decoder.end()

    def _read(self, files: Sequence[bytes], request: Request, deadline: float) -> list[Pixels | InvalidError]:
        found: list[Pixels | InvalidError] = []
        # What is not answered together, in half of the time, is asked for one by one: that tells which image it is.
        # A process may have ended while it was idle; the next is new, so it is the image that ends it.
        together, is_new = len(files), False
        while len(found) < len(files) and (now := time.monotonic()) < deadline:
            some = files[len(found) : len(found) + together]
            try:
                with self._borrowed(deadline, is_new=is_new) as decoder:
                    found += decoder.ask(request, some, deadline if len(some) == 1 else (now + deadline) / 2)
                is_new = False
            except TimeoutError:
                together = 1
            except (EOFError, OSError):
                if is_new and len(some) == 1:
                    found.append(_unreadable())
                together, is_new = 1, not is_new
        return found + [_too_long(self._timeout_seconds) for _ in files[len(found) :]]

    @contextmanager
    def _borrowed(self, deadline: float, *, is_new: bool = False) -> Iterator["_Decoder"]:
        """Yield a process that is nobody else's; one that something was wrong with is ended afterwards."""
        if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise UnavailableError("All decoders are busy.", code="decoders_busy")
        decoder = None
        try:
            decoder = self._take(is_new=is_new)
            yield decoder
            if self._give_back(decoder):
                decoder = None
        finally:
            if decoder is not None:
                decoder.end()
            self._free.release()

    def _give_back(self, decoder: "_Decoder") -> bool:
        """Make a process that is well idle again; return whether it is to live on.

        One that has read many images goes on until its successor is there: nobody waits for a start.
        """
        with self._lock:
            if decoder.images_left <= 0 and decoder.successor is None:
                with contextlib.suppress(RuntimeError):  # closed meanwhile
                    decoder.successor = self._starter.submit(self._add_idle)
            if decoder.successor is not None and decoder.successor.done():
                return False
            self._idle.append(decoder)
        return True

    def _take(self, *, is_new: bool) -> "_Decoder":
        with self._lock:
            if self._idle and not is_new:
                return self._idle.pop()
        try:
            return self._starter.submit(_Decoder, self._memory_bytes).result()
        except (EOFError, OSError) as error:
            raise UnavailableError("No decoder can be started.", code="decoder_unavailable") from error


class _TimeLeft:
    """What is left of the seconds that some work may take; time between its parts does not count."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()

    @contextmanager
    def until(self) -> Iterator[float]:
        """Yield the deadline of a part of the work, by the monotonic clock."""
        began = time.monotonic()
        try:
            yield began + self._seconds
        finally:
            with self._lock:
                self._seconds -= time.monotonic() - began


class _Decoder:
    """One process. Raises `OSError` or `EOFError` once it is gone, `TimeoutError` where it does not answer."""

    def __init__(self, memory_bytes: int) -> None:
        self._socket, theirs = socket.socketpair()
        self._process: subprocess.Popen[bytes] | None = None
        self._received = memoryview(b"")
        self.images_left = _MOST_IMAGES
        self.successor: Future[None] | None = None
        # What it says before it is confined; afterwards it can write to no file, so no image puts lines into our log.
        with theirs, tempfile.TemporaryFile() as complaints:
            try:
                self._process = _start(theirs, complaints, memory_bytes)
                theirs.close()
                missing = self._read_words(time.monotonic() + _START_SECONDS, most_bytes=_MOST_REFUSAL_BYTES)
                note_unconfined("decoding for predictions", missing)
            except BaseException:
                self.end()
                complaints.seek(0)
                _log.error("a decoder did not start", stderr=complaints.read()[-4000:].decode(errors="replace"))
                raise

    def ask(self, request: Request, files: Sequence[bytes], deadline: float) -> list[Pixels | InvalidError]:
        """Send images and return for each its pixels, or why there are none."""
        self.images_left -= len(files)
        seconds = self._wait_until(deadline)
        head = REQUEST_HEAD.pack(*request._replace(files=len(files), cpu_seconds=seconds))
        self._socket.sendall(b"".join([head, *(LENGTH.pack(len(data)) + data for data in files)]))
        refused = self._read_words(deadline, most_bytes=_MOST_REFUSAL_BYTES * len(files))
        pixels = np.frombuffer(self._receive(request.pixel_bytes * len(files), deadline), np.uint8)
        side = request.image_size
        found: list[Pixels | InvalidError] = list(pixels.reshape(len(files), side, side, request.channels))
        for index, error in refused.items():
            place, refusal = _parse(index, error, files=len(files))
            found[place] = refusal
        return found

    def _read_words(self, deadline: float, *, most_bytes: int) -> dict[str, Any]:
        (length,) = LENGTH.unpack(self._receive(LENGTH.size, deadline))
        if length > most_bytes:
            raise EOFError(_OUT_OF_TURN)
        try:
            words = json.loads(self._receive(length, deadline))
        except ValueError as error:
            raise EOFError(_OUT_OF_TURN) from error
        if not isinstance(words, dict):
            raise EOFError(_OUT_OF_TURN)  # noqa: TRY004 - no mistake of a caller: whoever says this is done with
        return words

    def _receive(self, count: int, deadline: float) -> bytes:
        def receive(most: int) -> memoryview:
            if not self._received:
                self._wait_until(deadline)
                self._received = memoryview(self._socket.recv(_BYTES_RECEIVED))
            piece, self._received = self._received[:most], self._received[most:]
            return piece

        return read_exactly(receive, count)

    def _wait_until(self, deadline: float) -> float:
        """Have the socket wait no longer; return how many seconds are left."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return left

    def end(self) -> None:
        """Kill the process."""
        self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _start(theirs: socket.socket, complaints: IO[bytes], memory_bytes: int) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "core.inference.decoder"]
    return subprocess.Popen(  # noqa: S603 - a program of our own
        [*program, "--memory-bytes", str(memory_bytes), "--parent", str(os.getpid())],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=complaints,
        env=bare_environment(),
        start_new_session=True,
    )


def _group(files: Sequence[bytes], request: Request) -> Iterator[Sequence[bytes]]:
    """Yield the files in order, so many together as are sent together."""
    most = max(1, min(_IMAGES_TOGETHER, _PIXEL_BYTES_TOGETHER // request.pixel_bytes))
    start = 0
    while start < len(files):
        sizes = accumulate(len(data) for data in files[start : start + most])
        count = max(1, sum(size <= _FILE_BYTES_TOGETHER for size in sizes))
        yield files[start : start + count]
        start += count


def _parse(index: str, error: Any, *, files: int) -> tuple[int, InvalidError]:
    """Return which image is refused and why; raises `EOFError` where no sound decoder would say it."""
    try:
        place, code, detail = int(index), error["code"], error["detail"]
    except (ValueError, LookupError, TypeError) as broken:
        raise EOFError(_OUT_OF_TURN) from broken
    if not 0 <= place < files or code not in _CODES or not isinstance(detail, str):
        raise EOFError(_OUT_OF_TURN)
    return place, InvalidError(detail, code=code)


def _unreadable() -> InvalidError:
    return InvalidError("The image cannot be read: it ends the decoder.", code="unreadable_image")


def _too_long(seconds: float) -> InvalidError:
    return InvalidError(
        f"Reading the images up to this one takes more than {seconds:g} seconds.", code="decoding_too_long"
    )

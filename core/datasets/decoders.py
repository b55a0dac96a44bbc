"""Processes that decode an archive each, started when they are asked for or one ahead."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from core.sandbox.confinement import bare_environment

_MOST_SAID = 4000


class Decoder:
    """A process of `core.datasets.decoder` that waits for one request; it ends with the ``with`` block."""

    def __init__(self) -> None:
        with ExitStack() as undone:
            self._complaints = undone.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "core.datasets.decoder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env=bare_environment(),
                start_new_session=True,
            )
            undone.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def lives(self) -> bool:
        """Whether the process has not ended by itself."""
        return self._process.poll() is None

    @property
    def output(self) -> int:
        """The file descriptor from which its lines of JSON come."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def ask(self, request: dict[str, Any]) -> None:
        """Send the request; where the process has died, its silence will tell."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def end(self) -> str:
        """Kill the process and all that it started; return the last of what it said on standard error, once."""
        if self._complaints.closed:
            return ""
        # Whether or not it has ended by itself: what it started may live.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        with self._complaints as complaints:
            complaints.seek(0)
            return complaints.read()[-_MOST_SAID:].decode(errors="replace")


class Decoders:
    """Has a decoder loaded before it is asked for: an archive need not wait for a Python to start.

    One thread starts them all and lives as long as this does: to the kernel it is their parent, whose end is theirs.
    """

    def __init__(self) -> None:
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="decoders")
        self._lock = threading.Lock()
        self._next: Future[Decoder] | None = None

    def prepare(self) -> None:
        """Begin to start the next decoder, unless there is one; the caller need not wait."""
        with self._lock:
            if self._next is None:
                self._next = self._starter.submit(Decoder)

    def take(self) -> Decoder:
        """Return a decoder that is the caller's to end: the one that is ready, else a new one."""
        decoder = self._pop()
        if decoder is not None:
            if decoder.lives:
                return decoder
            decoder.end()
        return self._starter.submit(Decoder).result()

    def close(self) -> None:
        """End the decoder that nobody has taken."""
        decoder = self._pop()
        if decoder is not None:
            decoder.end()
        self._starter.shutdown()

    def _pop(self) -> Decoder | None:
        """Wait for the next decoder and take it away; ``None`` where there is none, or it could not be started."""
        with self._lock:
            ready, self._next = self._next, None
        return None if ready is None or ready.exception() is not None else ready.result()

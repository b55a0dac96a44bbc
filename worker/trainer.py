"""The trainer process: trains one job and reports over a pipe. It holds no credentials and knows no database.

Messages are JSON objects with a ``type``: ``progress``, ``epoch``, ``checkpoint``, ``log``, ``alive`` where
there is work and nothing to tell of it, and one of ``result``, ``paused`` or ``failed`` at the end.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.errors import LenetError
from core.priority import lower_priority

if TYPE_CHECKING:
    from core.training.contract import TrainingResult

PRELOAD = "core.training.preload"
_PR_SET_PDEATHSIG = 1
# What torch's errors say where memory was missing and no kind of error of their own says so: of a processor, of CUDA
# when it starts or pins memory, and of the libraries that multiply for it.
_SIGNS_OF_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
_TOO_LITTLE_MEMORY = (
    "The device has too little memory for this training beside what else runs there; "
    "a smaller batch_size or image_size needs less."
)


def main(connection: Connection, nice: int) -> None:
    """Wait for an order, train, report, end. Runs in a process of its own."""
    isolate(nice)
    import core.training.preload  # noqa: F401, PLC0415 - a spawned process loads torch while it waits

    try:
        order = json.loads(connection.recv_bytes())
    except EOFError:
        return
    reporter = Reporter(connection)
    reporter.listen()
    try:
        _train(order, reporter)
    except BrokenPipeError:
        os._exit(1)  # The supervisor is gone; nobody is left to tell.


def isolate(nice: int) -> None:
    """Make a process group, take a low priority, and die with the parent; the supervisor handles signals."""
    os.setsid()
    lower_priority(nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Reporter:
    """The observer of a training: sends what happens to the supervisor and hears its commands."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._command: Literal["pause", "stop"] | None = None

    def listen(self) -> None:
        """Hear commands in a thread; end the process where the supervisor is gone."""
        threading.Thread(target=self._hear, name="commands", daemon=True).start()

    def _hear(self) -> None:
        while True:
            try:
                self._command = json.loads(self._connection.recv_bytes())["command"]
            except (EOFError, OSError):
                os._exit(1)

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message."""
        with self._lock:
            self._connection.send_bytes(json.dumps({"type": kind, **fields}, default=str).encode())

    def progress(self, progress: Any) -> None:
        """Report how far the training is."""
        self.send("progress", progress=asdict(progress))

    def epoch(self, result: Any) -> None:
        """Report an epoch."""
        epoch = asdict(result)
        self.send("epoch", epoch=epoch, metrics=self._metrics(epoch))

    def _metrics(self, epoch: dict[str, Any]) -> dict[str, Any]:
        """Return the job's metrics so far."""
        named = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        return {name: epoch[name] for name in named}

    def checkpoint(self, path: Path, *, epoch: int, batch: int) -> None:
        """Report a checkpoint that is wholly on disk."""
        self.send("checkpoint", path=str(path), epoch=epoch, batch=batch)

    def log(self, message: str) -> None:
        """Report a sentence for the job's log."""
        self.send("log", level="info", message=message)

    def alive(self) -> None:
        """Tell that there is work: long silence passes for standing still."""
        self.send("alive")

    def command(self) -> Literal["pause", "stop"] | None:
        """Return what the supervisor asked for last."""
        return self._command


def _train(order: dict[str, Any], reporter: Reporter) -> None:
    from core.domain.training_options import TrainingConfig  # noqa: PLC0415 - see main
    from core.training.contract import TrainingJob  # noqa: PLC0415 - see main
    from core.training.trainer import train  # noqa: PLC0415 - see main

    try:
        result = train(
            TrainingJob(
                config=TrainingConfig.model_validate(order["config"]),
                pack=Path(order["pack"]),
                work_dir=Path(order["work_dir"]),
                device=order["device"],
                threads=order["threads"],
                resume_from=_path(order["resume_from"]),
                initial_weights=_path(order["initial_weights"]),
                speeds=_path(order["speeds"]),
                dataset=order["dataset"],
            ),
            reporter,
        )
        package = _pack_results(result, reporter) if result else []
    except LenetError as error:
        reporter.send("failed", code=error.code, detail=error.detail)
    except MemoryError:
        reporter.send("failed", code="out_of_memory", detail=_TOO_LITTLE_MEMORY)
    except Exception as error:  # noqa: BLE001 - the process's boundary: whatever it was, the supervisor must hear it
        if _is_out_of_memory(error):
            reporter.send("failed", code="out_of_memory", detail=_TOO_LITTLE_MEMORY)
        else:
            reporter.send("log", level="error", message=traceback.format_exc())
            reporter.send("crashed", detail=type(error).__name__)
    else:
        if result is None:
            reporter.send("paused")
        else:
            told = asdict(result)
            reporter.send("result", result={**told, "files": [*told["files"], *package]})


def _pack_results(result: "TrainingResult", reporter: Reporter) -> list[dict[str, str]]:
    """Draw and write what people get beside the model; return the files as the result tells them."""
    from core.reporting.package import write_package  # noqa: PLC0415 - see main

    folder = result.files[0].path.parent
    written = write_package(folder, tuple(file.name for file in result.files), on_file=reporter.alive)
    return [
        {"name": name, "media_type": media_type, "path": str(folder / name)} for name, media_type in written.items()
    ]


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # Absent where NumPy computes, whose own error is a MemoryError.
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in _SIGNS_OF_NO_MEMORY)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)

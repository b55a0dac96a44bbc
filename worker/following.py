"""Follows a trainer: writes what it reports to SQL and the store, and passes on what the user asks for."""

import contextlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import LenetError
from core.services import progress
from core.services.claims import Claim, Wishes
from core.services.progress import EpochFigures
from core.storage import keys
from core.storage.store import ObjectStore
from worker.job_writer import JobWriter
from worker.lease import Lease
from worker.trainers import Command, Trainer

_TICK_SECONDS = 0.1
_WRITE_EVERY_SECONDS = 0.4
# A trainer that is asked for a checkpoint when the worker stops has this long to write it.
_PREEMPT_SECONDS = 15.0


@dataclass
class Following:
    """One trainer, followed until it has ended.

    Attributes:
        outcome: The trainer's last word (``result``, ``paused``, ``failed`` …); ``None`` where it died without one.
        preempted_at: Monotonic time at which it was asked to stop because the worker stops.
    """

    claim: Claim
    lease: Lease
    writer: JobWriter
    store: ObjectStore
    closing: threading.Event
    stall_seconds: float
    outcome: dict[str, Any] | None = None
    preempted_at: float | None = None
    _asked: set[Command] = field(default_factory=set)
    _latest: dict[str, Any] | None = None
    _written_at: float = 0.0

    def follow(self, trainer: Trainer) -> None:
        """Handle every message until the trainer's end.

        Raises:
            LeaseLostError: The job is no longer held: the trainer must be killed.
        """
        heard_at = time.monotonic()
        while True:
            try:
                message = trainer.receive(_TICK_SECONDS)
            except EOFError:
                self._written_at = 0.0  # However short ago the last write was: the last progress is the final one.
                self._write_progress(trainer)
                return
            self.lease.check()
            if message is not None:
                heard_at = time.monotonic()
                self._handle(trainer, message)
            self._write_progress(trainer)
            self._watch(trainer, silent_seconds=time.monotonic() - heard_at)

    def _handle(self, trainer: Trainer, message: dict[str, Any]) -> None:
        match message["type"]:
            case "progress":
                self._latest = message["progress"]
            case "epoch":
                self._write_epoch(trainer, message["epoch"], message["metrics"])
            case "checkpoint":
                self._write_checkpoint(Path(message["path"]), epoch=message["epoch"], batch=message["batch"])
            case "log":
                self.writer.log(message["message"], level=message["level"])
            case _:
                self.outcome = message

    def _write_progress(self, trainer: Trainer) -> None:
        if self._latest is None or time.monotonic() - self._written_at < _WRITE_EVERY_SECONDS:
            return
        latest, self._latest, self._written_at = self._latest, None, time.monotonic()
        self._ask(trainer, self.writer.write(lambda session: progress.record_progress(session, self.claim, latest)))

    def _write_epoch(self, trainer: Trainer, epoch: dict[str, Any], metrics: dict[str, Any]) -> None:
        figures = EpochFigures(**{name: epoch[name] for name in EpochFigures.__dataclass_fields__})
        wishes = self.writer.write(
            lambda session: progress.record_epoch(session, self.claim, figures, progress=self._latest, metrics=metrics)
        )
        self._latest = None
        self.writer.log(figures.line())
        self._ask(trainer, wishes)

    def _write_checkpoint(self, path: Path, *, epoch: int, batch: int) -> None:
        key = keys.checkpoint(
            self.claim.tenant_id, self.claim.job_id, attempt=self.claim.attempt, epoch=epoch, batch=batch
        )
        stored = self.writer.insist(lambda: self.store.put_file(key, path))
        replaced = self.writer.write(
            lambda session: progress.record_checkpoint(session, self.claim, stored, epoch=epoch, batch=batch)
        )
        path.unlink(missing_ok=True)
        delete_objects(self.store, replaced)

    def _ask(self, trainer: Trainer, wishes: Wishes) -> None:
        """Pass on what the user asked for, once; a pause goes before a stop."""
        wish: Command | None = "pause" if wishes.pause else "stop" if wishes.stop else None
        if wish is not None and wish not in self._asked:
            self._asked.add(wish)
            trainer.send(wish)

    def _watch(self, trainer: Trainer, *, silent_seconds: float) -> None:
        """End a trainer that stands still, and ask for a checkpoint when this worker is to stop."""
        if silent_seconds > self.stall_seconds:
            self.outcome = {"type": "stalled", "detail": f"no sign of progress for {silent_seconds:.0f} s"}
            trainer.kill()
        elif self.closing.is_set() and self.preempted_at is None:
            self.preempted_at = time.monotonic()
            trainer.send("pause")
        elif self.preempted_at is not None and time.monotonic() - self.preempted_at > _PREEMPT_SECONDS:
            trainer.kill()


def delete_objects(store: ObjectStore, object_keys: list[str]) -> None:
    """Delete what no row names any more; what cannot be deleted now is collected later."""
    for key in object_keys:
        with contextlib.suppress(LenetError):
            store.delete(key)

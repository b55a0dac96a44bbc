"""Follows a trainer: writes what it reports to SQL and the store, and passes on what the user asks for."""

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from core.crash_points import reach
from core.errors import LenetError
from core.services import progress
from core.services.claims import Claim, Wishes
from core.services.progress import EpochFigures
from core.storage import keys
from core.storage.store import ObjectStore
from worker.job_writer import JobWriter
from worker.lease import Lease
from worker.oom import OomWatch
from worker.trainers import Command, Trainer

_TICK_SECONDS = 0.1
_WRITE_EVERY_SECONDS = 0.4
# A trainer whose steps are long reports seldom; what the user asks for must not wait for it.
_ASK_EVERY_SECONDS = 0.5
# A process that is killed ends at once, unless the system itself holds it: then it is left behind.
_DYING_SECONDS = 30.0
# A trainer that is asked for a checkpoint when the worker stops has this long to write it.
_PREEMPT_SECONDS = 15.0
_USUAL_SILENCES = 10
_SILENCES_KEPT = 101


class Silence:
    """How long a trainer has said nothing, and how long it usually does: a slow training is not a stalled one."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._usual: deque[float] = deque(maxlen=_SILENCES_KEPT)

    def listened(self, seconds: float, *, heard: bool) -> None:
        """Count time that was spent listening; ``heard`` ends the silence."""
        self.seconds += seconds
        if heard:
            self._usual.append(self.seconds)
            self.seconds = 0.0

    def longest(self, floor_seconds: float) -> float:
        """Return the silence that is borne: ten times the usual one, and never less than ``floor_seconds``."""
        return max(floor_seconds, _USUAL_SILENCES * median(self._usual)) if self._usual else floor_seconds


@dataclass
class Following:
    """One trainer, followed until it has ended.

    Attributes:
        outcome: The trainer's last word (``result``, ``paused``, ``failed`` …); ``None`` where it died without one.
        preempted_at: Monotonic time at which it was asked to stop because the worker stops.
        memory_ran_out: Whether the kernel has killed somebody beside the trainer, or it, for want of memory.
    """

    claim: Claim
    lease: Lease
    writer: JobWriter
    store: ObjectStore
    closing: threading.Event
    stall_seconds: float
    outcome: dict[str, Any] | None = None
    preempted_at: float | None = None
    memory_ran_out: bool = False
    _asked: set[Command] = field(default_factory=set)
    _latest: dict[str, Any] | None = None
    _written_at: float = 0.0
    _killed_at: float | None = None
    _silence: Silence = field(default_factory=Silence)

    def follow(self, trainer: Trainer) -> None:
        """Handle every message until the trainer's end.

        Raises:
            LeaseLostError: The job is no longer held: the trainer must be killed.
        """
        memory = OomWatch(trainer.pid)
        while True:
            asked_at = time.monotonic()
            try:
                message = trainer.receive(_TICK_SECONDS)
            except EOFError:
                self.memory_ran_out = memory.has_killed()
                self.lease.check()  # It may have been ended with the lease.
                self._written_at = 0.0  # However short ago the last write was: the last progress is the final one.
                self._write_progress(trainer)
                return
            self.lease.check()
            # Only time spent listening counts: a store that was slow to take a checkpoint is not the trainer's silence.
            self._silence.listened(time.monotonic() - asked_at, heard=message is not None)
            if message is not None:
                self._handle(trainer, message)
            self._write_progress(trainer)
            self._watch(trainer)
            memory.look()
            if self._killed_at is not None and time.monotonic() - self._killed_at > _DYING_SECONDS:
                return

    def _handle(self, trainer: Trainer, message: dict[str, Any]) -> None:
        match message["type"]:
            case "progress":
                self._latest = message["progress"]
                reach("w.epoch_mid")
            case "epoch":
                self._write_epoch(trainer, message["epoch"], message["metrics"])
            case "checkpoint":
                self._write_checkpoint(Path(message["path"]), epoch=message["epoch"], batch=message["batch"])
            case "alive":
                pass  # To have been heard is all that it is for.
            case "log":
                self.writer.log(message["message"], level=message["level"])
            case _:
                self.outcome = message

    def _write_progress(self, trainer: Trainer) -> None:
        """Write the latest progress, now and then, and hear what the user asks for; where there is none, hear alone."""
        since, latest = time.monotonic() - self._written_at, self._latest
        if since < (_ASK_EVERY_SECONDS if latest is None else _WRITE_EVERY_SECONDS):
            return
        self._written_at = time.monotonic()
        if latest is None:
            wishes = self.writer.read_wishes()
        else:
            self._latest = None
            wishes = self.writer.write(lambda session: progress.record_progress(session, self.claim, latest))
        if wishes is not None:
            self._ask(trainer, wishes)

    def _write_epoch(self, trainer: Trainer, epoch: dict[str, Any], metrics: dict[str, Any]) -> None:
        reach("w.epoch_before_progress")
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
        try:
            stored = self.writer.insist(lambda: self.store.put_file(key, path))
        except FileNotFoundError:
            # The store was away while the trainer wrote newer ones, which are next, and dropped this one.
            self.writer.log(f"the checkpoint of epoch {epoch}, batch {batch} was overtaken by newer ones")
            return
        reach("w.ckpt_put_before_row")
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

    def _watch(self, trainer: Trainer) -> None:
        """End a trainer that stands still, and ask for a checkpoint when this worker is to stop."""
        if self._silence.seconds > self._silence.longest(self.stall_seconds):
            # One that has said its last word has only failed to end.
            self.outcome = self.outcome or {
                "type": "stalled",
                "detail": f"no sign of progress for {self._silence.seconds:.0f} s",
            }
            self._kill(trainer)
        elif self.closing.is_set() and self.preempted_at is None:
            self.preempted_at = time.monotonic()
            trainer.send("pause")
        elif self.preempted_at is not None and time.monotonic() - self.preempted_at > _PREEMPT_SECONDS:
            self._kill(trainer)

    def _kill(self, trainer: Trainer) -> None:
        self._killed_at = self._killed_at or time.monotonic()
        trainer.kill()


def delete_objects(store: ObjectStore, object_keys: list[str]) -> None:
    """Delete what no row names any more; what cannot be deleted now is collected later."""
    for key in object_keys:
        with contextlib.suppress(LenetError):
            store.delete(key)

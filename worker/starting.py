"""Where an attempt starts from: the newest checkpoint that is whole, else the weights of another job, else nothing."""

from dataclasses import dataclass
from pathlib import Path

from core.errors import IntegrityError, ObjectNotFoundError
from core.services import results
from core.services.claims import Checkpoint, Claim
from core.services.results import StoredArtifact
from core.storage.store import ObjectStore
from worker.job_writer import JobWriter


@dataclass(frozen=True)
class Start:
    """One place to start from, with what was fetched for it."""

    checkpoint: Checkpoint | None = None
    resume_from: Path | None = None
    initial_weights: Path | None = None


class Starts:
    """The places that an attempt may start from, the best first; one that turns out broken is passed over."""

    def __init__(self, claim: Claim, writer: JobWriter, store: ObjectStore, folder: Path) -> None:
        self._claim = claim
        self._writer = writer
        self._store = store
        self._folder = folder
        self._left = list(claim.checkpoints)
        self._notes: list[str] = []

    @property
    def notes(self) -> str | None:
        """Return what was passed over and why."""
        return "; ".join(self._notes) or None

    def next(self) -> Start:
        """Fetch the best place that is left."""
        while self._left:
            checkpoint = self._left.pop(0)
            path = self._folder / f"resume-{checkpoint.epoch}-{checkpoint.batch}"
            try:
                self._fetch(checkpoint, path)
            except (IntegrityError, ObjectNotFoundError) as error:
                self.pass_over(checkpoint, error.detail)
            else:
                self._writer.log(f"goes on from epoch {checkpoint.epoch}, batch {checkpoint.batch}")
                return Start(checkpoint, resume_from=path)
        return Start(initial_weights=self._initial_weights())

    def pass_over(self, checkpoint: Checkpoint, reason: str) -> None:
        """Note that a checkpoint is of no use."""
        note = f"the checkpoint of epoch {checkpoint.epoch}, batch {checkpoint.batch} was passed over: {reason}"
        self._notes.append(note)
        self._writer.log(note, level="warning")

    def _initial_weights(self) -> Path | None:
        """Fetch the weights of the job that this one starts from, where it was asked for."""
        base = self._claim.from_job
        if not self._claim.warm_start or base is None:
            return None
        row = self._writer.write(
            lambda session: results.get_artifact(session, self._claim.tenant_id, base, "model.safetensors")
        )
        path = self._folder / "initial.safetensors"
        self._fetch(row, path)
        return path

    def _fetch(self, what: Checkpoint | StoredArtifact, path: Path) -> None:
        self._writer.insist(lambda: self._store.fetch(what.key, path, sha256=what.sha256, size_bytes=what.size_bytes))

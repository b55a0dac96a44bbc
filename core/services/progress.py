"""What a running training reports: progress, epochs, checkpoints and log lines, all fenced by the attempt."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import CheckpointRow, EpochRow, JobLogRow
from core.errors import LeaseLostError
from core.services.claims import Claim, Wishes, write_fenced
from core.storage.store import StoredObject

CHECKPOINTS_KEPT = 2
_LONGEST_LINE = 4000


@dataclass(frozen=True)
class EpochFigures:
    """One epoch's figures; accuracies are fractions, ``seconds`` is wall clock."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float

    def line(self) -> str:
        """Return the epoch as a line of the job's log."""
        line = f"epoch {self.epoch}: train loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.4f}"
        if self.val_loss is None or self.val_accuracy is None:
            return line
        return f"{line}; validation loss {self.val_loss:.4f}, accuracy {self.val_accuracy:.4f}"


def record_progress(session: Session, claim: Claim, progress: dict[str, Any]) -> Wishes:
    """Write how far the training is; raises `LeaseLostError` where this attempt holds the job no longer."""
    return write_fenced(session, claim, progress=progress, last_progress_at=read_clock(session))


def record_epoch(
    session: Session,
    claim: Claim,
    figures: EpochFigures,
    *,
    progress: dict[str, Any] | None,
    metrics: dict[str, Any],
) -> Wishes:
    """Write an epoch, the job's metrics so far, and its progress where there is a newer one.

    Raises:
        LeaseLostError: This attempt holds the job no longer, or an epoch before this one is not there.
    """
    now = read_clock(session)
    newer = {} if progress is None else {"progress": progress}
    wishes = write_fenced(session, claim, metrics=metrics, last_progress_at=now, **newer)
    _refuse_gap(session, claim, before=figures.epoch)
    session.merge(EpochRow(job_id=claim.job_id, attempt=claim.attempt, finished_at=now, **vars(figures)))
    return wishes


def _refuse_gap(session: Session, claim: Claim, *, before: int) -> None:
    """Raise `LeaseLostError` where an epoch before this one is not there: the database was set back meanwhile.

    Another attempt will fill the gap from what the database still knows.
    """
    earlier = select(func.count()).where(EpochRow.job_id == claim.job_id, EpochRow.epoch < before)
    if session.scalar(earlier) != before - 1:
        raise LeaseLostError(f"Epochs before {before} of {claim.job_id} are not there: the database was set back.")


def record_checkpoint(session: Session, claim: Claim, stored: StoredObject, *, epoch: int, batch: int) -> list[str]:
    """Make a checkpoint exist and return the keys of those that it replaces, to be deleted after the commit.

    Raises:
        LeaseLostError: This attempt holds the job no longer, or an epoch before the checkpoint's is not there.
    """
    write_fenced(session, claim)
    _refuse_gap(session, claim, before=epoch)
    session.merge(
        CheckpointRow(
            job_id=claim.job_id,
            attempt=claim.attempt,
            epoch=epoch,
            batch=batch,
            key=stored.key,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
            created_at=read_clock(session),
        )
    )
    session.flush()
    rows = session.scalars(
        select(CheckpointRow)
        .where(CheckpointRow.job_id == claim.job_id)
        .order_by(CheckpointRow.epoch.desc(), CheckpointRow.batch.desc(), CheckpointRow.attempt.desc())
        .offset(CHECKPOINTS_KEPT)
    ).all()
    for row in rows:
        session.delete(row)
    return [row.key for row in rows]


def drop_checkpoints(session: Session, job_id: str) -> list[str]:
    """Forget a job's checkpoints and return their keys, to be deleted after the commit."""
    return list(
        session.scalars(delete(CheckpointRow).where(CheckpointRow.job_id == job_id).returning(CheckpointRow.key))
    )


def record_log(session: Session, claim: Claim, *, level: str, message: str) -> None:
    """Add a line to the job's log. A stale attempt may still say why it ended, so this is not fenced."""
    session.add(
        JobLogRow(
            job_id=claim.job_id,
            attempt=claim.attempt,
            at=read_clock(session),
            level=level,
            message=message[:_LONGEST_LINE],
        )
    )

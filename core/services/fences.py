"""The fence around what a worker writes to a dataset or an evaluation; that of jobs is in `core.services.claims`."""

from typing import Any, Protocol

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.db.engine import read_clock
from core.db.rows import DatasetRow, EvaluationRow
from core.errors import LeaseLostError


class Hold(Protocol):
    """A worker's claim; ``attempt`` is the fencing token."""

    @property
    def attempt(self) -> int:
        """The number of the attempt."""

    @property
    def worker(self) -> str:
        """Whose it is: a database that was set back gives an attempt's number a second time."""


def write_held(
    session: Session,
    row: type[DatasetRow] | type[EvaluationRow],
    row_id: str,
    hold: Hold,
    *,
    status: str,
    values: dict[str, Any],
) -> None:
    """Write columns of a row that has ``status``, only while this attempt holds it.

    Raises:
        LeaseLostError: Another worker has it, it was deleted, or it has ended.
    """
    written = session.scalar(
        update(row)
        .where(
            row.id == row_id,
            row.status == status,
            row.attempt == hold.attempt,
            row.worker == hold.worker,
        )
        .values(updated_at=read_clock(session), **values)
        .returning(row.id)
        .execution_options(synchronize_session=False)
    )
    if written is None:
        raise LeaseLostError(f"Attempt {hold.attempt} of {row_id} holds it no longer.")

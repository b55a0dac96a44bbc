"""Garbage collection: objects that no row names are deleted once they are old enough to be nobody's work in hand."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import islice

from sqlalchemy import select

from core.clock import now
from core.db.engine import Sessions, reading
from core.db.rows import ArtifactRow, CheckpointRow, DatasetRow, EnsembleRow, EvaluationRow, PackRow
from core.domain.datasets import DatasetStatus
from core.errors import ObjectNotFoundError
from core.storage.store import ObjectStore

_KEYS_AT_ONCE = 500
_NAMED = (
    # A rejected archive is not kept: its row names what it was.
    select(DatasetRow.archive_key).where(DatasetRow.status != DatasetStatus.REJECTED),
    *map(select, (DatasetRow.preview_key, PackRow.key, CheckpointRow.key, ArtifactRow.key)),
    *map(select, (EvaluationRow.report_key, EnsembleRow.model_key)),
)


def find_garbage(sessions: Sessions, store: ObjectStore, *, age_seconds: float) -> Iterator[str]:
    """Yield the keys of objects older than ``age_seconds`` that no row names.

    What is written first and named later, as every object is, is safe while it is younger than that. No transaction is
    open while the store is asked, which may take its time.
    """
    before = now() - timedelta(seconds=age_seconds)
    old = (stat.key for stat in store.list() if stat.modified_at < before)
    for keys in _batches(old):
        named: set[str | None] = set()
        with reading(sessions) as connection:
            for query in _NAMED:
                named.update(connection.scalars(query.where(query.selected_columns[0].in_(keys))))
        yield from (key for key in keys if key not in named)


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(keys)
    while batch := list(islice(iterator, _KEYS_AT_ONCE)):
        yield batch


def collect_garbage(sessions: Sessions, store: ObjectStore, *, age_seconds: float) -> int:
    """Delete the garbage and return how many objects it was; raises `UnavailableError`.

    Each is looked at once more just before: one that was written anew since the store was listed is work in hand.
    """
    before, collected = now() - timedelta(seconds=age_seconds), 0
    for key in find_garbage(sessions, store, age_seconds=age_seconds):
        with suppress(ObjectNotFoundError):
            if store.stat(key).modified_at < before:
                store.delete(key)
                collected += 1
    store.clear_abandoned()
    return collected

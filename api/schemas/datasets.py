"""Datasets, as requests name them and answers show them."""

from typing import Annotated

from pydantic import Field

from api.schemas.base import LARGEST_INTEGER, Moment, Name, Page, Query, Shape
from api.schemas.problems import StoredProblem, shape_stored
from core.db.rows import DatasetEntryRow, DatasetRow
from core.domain.datasets import (
    ColorMode,
    DatasetStatus,
    DatasetWarning,
    EntryCounts,
    ImageSummary,
    Manifest,
    Outcome,
    Split,
)

_Digits = Annotated[str, Field(pattern=r"^[0-9]{1,10}$")]


class UploadQuery(Query):
    """What is said of an upload beside its bytes."""

    name: Annotated[Name | None, Field(description="The dataset's name; left out: the file's.")] = None


class EntryQuery(Query):
    """Which entries of the ledger."""

    outcome: Annotated[Outcome | None, Field(description="Only these.")] = None
    limit: Annotated[int, Field(ge=1, le=200, description="Most items of the page.")] = 50
    cursor: Annotated[_Digits | None, Field(description="The last page's `next_cursor`.")] = None

    @property
    def after(self) -> int:
        """Return the position after which the page begins."""
        return -1 if self.cursor is None else min(int(self.cursor), LARGEST_INTEGER)


class Dataset(Shape):
    """An uploaded archive; what reading it finds is null until it is `ready`."""

    id: str
    name: str
    status: DatasetStatus
    size_bytes: int
    sha256: str
    created_at: Moment
    classes: Annotated[list[str] | None, Field(description="Class names in index order.")]
    counts: Annotated[
        dict[Split, dict[str, int] | None] | None, Field(description="Images of each class in each split.")
    ]
    images: ImageSummary | None
    color_mode: ColorMode | None
    warnings: list[DatasetWarning]
    error: Annotated[StoredProblem | None, Field(description="Why it was rejected, with every reason.")]
    entries: Annotated[EntryCounts | None, Field(description="They add up to the archive.")]


class Entry(Shape):
    """One entry of the archive: what became of it and why."""

    position: int
    path: str
    outcome: Outcome
    reason: str | None
    split: Split | None
    class_name: Annotated[str | None, Field(alias="class")]
    width: int | None
    height: int | None
    mode: str | None


def shape_dataset(row: DatasetRow) -> Dataset:
    """Return a dataset as answers show it."""
    manifest = None if row.manifest is None else Manifest.model_validate(row.manifest)
    return Dataset(
        id=row.id,
        name=row.name,
        status=DatasetStatus(row.status),
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        created_at=row.created_at,
        classes=manifest and manifest.classes,
        counts=manifest and {split: manifest.counts.get(split) for split in ("train", "validation", "test")},
        images=manifest and manifest.images,
        color_mode=manifest and manifest.color_mode,
        warnings=manifest.warnings if manifest else [],
        error=shape_stored("The archive was rejected", row.error),
        entries=None if row.entries is None else EntryCounts.model_validate(row.entries),
    )


def shape_entries(rows: list[DatasetEntryRow], *, limit: int) -> Page[Entry]:
    """Return a page of the ledger from rows of which one more than ``limit`` was asked for."""
    shown = rows[:limit]
    cursor = str(shown[-1].position) if len(rows) > limit else None
    return Page[Entry](items=[_shape_entry(row) for row in shown], next_cursor=cursor)


def _shape_entry(row: DatasetEntryRow) -> Entry:
    return Entry.model_validate({name: getattr(row, name) for name in Entry.model_fields})

"""What is known of a dataset: its manifest, the ledger's outcomes and the warnings."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

ColorMode = Literal["grayscale", "rgb"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class DatasetStatus(StrEnum):
    """Where a dataset is in its life."""

    PROCESSING = "processing"
    READY = "ready"
    REJECTED = "rejected"


INGEST_FAILED = "ingest_failed"
"""The code of a dataset that was rejected since nobody came to an end with it: the archive may be sound."""


class Outcome(StrEnum):
    """What became of one entry of an archive."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    IGNORED = "ignored"


class WarningCode(StrEnum):
    """What a dataset that is ready is warned of."""

    SKIPPED_FILE = "skipped_file"
    UNREADABLE_IMAGE = "unreadable_image"
    CLASS_IMBALANCE = "class_imbalance"
    FEW_IMAGES = "few_images"
    DUPLICATE_IMAGES = "duplicate_images"
    TRAIN_TEST_LEAK = "train_test_leak"
    CLASS_MISSING_IN_TEST = "class_missing_in_test"
    CLASS_ONLY_IN_TEST = "class_only_in_test"
    MIXED_COLOR_MODES = "mixed_color_modes"
    SPLIT_MADE = "split_made"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetWarning(_Value):
    """One warning: how many entries it concerns and some of their paths."""

    code: WarningCode
    detail: str
    count: int
    examples: list[str] = []


class ImageSummary(_Value):
    """The images of a dataset: how many, of which stored modes, and the smallest and largest size in pixels."""

    total: int
    modes: dict[str, int]
    min_size: tuple[int, int]
    max_size: tuple[int, int]


class EntryCounts(_Value):
    """How many entries of the archive were accepted, rejected and ignored; they add up to the archive."""

    accepted: int
    rejected: int
    ignored: int


class Manifest(_Value):
    """What ingest found: the frozen label index (sorted class names of ``train``), counts, images, warnings.

    ``counts`` has a mapping of class to number of images for each split, ``None`` for a split that is not there.
    """

    classes: list[str]
    counts: dict[Split, dict[str, int] | None]
    images: ImageSummary
    color_mode: ColorMode
    warnings: list[DatasetWarning]
    entries: EntryCounts

    def images_in(self, split: Split) -> int:
        """Return how many images a split has."""
        return sum((self.counts.get(split) or {}).values())

"""What makes a dataset unfit, and what it is warned of. The thresholds stand here, as constants."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from core.datasets.findings import Findings
from core.datasets.layout import NOTES, SKIPPED_NOTES, UNKNOWN_CLASS, Layout
from core.datasets.members import FaultList
from core.domain.datasets import SPLITS, DatasetWarning, WarningCode

MAX_UNREADABLE_SHARE = 0.05
"""Share of the images that may be unreadable; above it the dataset is rejected."""
MIN_CLASS_IMAGES = 2
"""Fewest images of a class in ``train``, before a split is made."""
FEW_IMAGES = 50
"""A class with fewer training images is warned of."""
IMBALANCE_RATIO = 3.0
"""A largest class that has at least so many times the training images of the smallest is warned of."""
TEST_SHARE = 0.2
"""Share of each class that becomes ``test`` where the archive has none."""
MAX_EXAMPLES = 10
_TRAIN, _VALIDATION, _TEST = (SPLITS.index(split) for split in ("train", "validation", "test"))


def check_images(findings: Findings) -> None:
    """Refuse a dataset with too many unreadable images, or with a class that has too few.

    Raises:
        DatasetRejectedError: With every reason; unreadable images are named one by one.
    """
    layout, faults = findings.layout, FaultList()
    names, rejected = findings.archive.members.names, findings.rejected
    if len(rejected) > MAX_UNREADABLE_SHARE * (len(rejected) + np.count_nonzero(findings.accepted)):
        for position in sorted(rejected):
            faults.add(names[position], rejected[position])
    else:
        counts = _count_classes(layout, layout.splits, findings.accepted, split=_TRAIN)
        for label in np.flatnonzero(counts < MIN_CLASS_IMAGES):
            what = "one readable image" if counts[label] else "no readable image"
            faults.add(layout.classes[int(label)], f"the class has {what} in train; {MIN_CLASS_IMAGES} are needed")
    faults.raise_any()


def make_splits(findings: Findings) -> npt.NDArray[np.int8]:
    """Return each entry's split; where no entry is in ``test``, a fifth of each class of ``train`` goes there.

    An image's place follows from its file's bytes: the same files are split in the same way in whatever order and
    under whatever names they come, and two equal files are never on different sides: what stands in several classes
    stays in ``train``.
    """
    splits = findings.layout.splits.copy()
    if _has_test(findings):
        return splits
    candidates = [
        np.flatnonzero((splits == _TRAIN) & (findings.layout.labels == label) & findings.accepted)
        for label in range(len(findings.layout.classes))
    ]
    digests_of = [np.unique(findings.file_digests[own]) for own in candidates]
    known, classes = np.unique(np.concatenate(digests_of), return_counts=True)
    for own, digests in zip(candidates, digests_of, strict=True):
        wanted = max(1, round(TEST_SHARE * len(digests))) if len(digests) > 1 else 0
        chosen = np.setdiff1d(digests, known[classes > 1])[:wanted]
        splits[own[np.isin(findings.file_digests[own], chosen)]] = _TEST
    return splits


def _has_test(findings: Findings) -> bool:
    return bool(np.any(findings.accepted & (findings.layout.splits == _TEST)))


def _count_classes(
    layout: Layout, splits: npt.NDArray[np.int8], accepted: npt.NDArray[np.bool_], *, split: int
) -> npt.NDArray[np.int64]:
    return np.bincount(layout.labels[accepted & (splits == split)], minlength=len(layout.classes))


def count_images(findings: Findings, splits: npt.NDArray[np.int8], split: int) -> dict[str, int] | None:
    """Return how many images each class has in a split, or ``None`` where the split has none."""
    counts = _count_classes(findings.layout, splits, findings.accepted, split=split)
    return dict(zip(findings.layout.classes, counts.tolist(), strict=True)) if counts.any() else None


def find_warnings(findings: Findings, splits: npt.NDArray[np.int8]) -> list[DatasetWarning]:
    """Return all that a dataset is warned of.

    Examples are paths; of warnings about classes (imbalance, few images, missing in test) they are class names,
    and ``count`` counts classes.
    """
    return [
        *_warn_of_entries(findings),
        *_warn_of_sizes(findings, splits),
        *_warn_of_repetitions(findings, splits),
        *_warn_of_classes(findings, splits),
        *_warn_of_colors(findings),
        *_warn_of_split(findings, splits),
    ]


def _warn(
    code: WarningCode, detail: str, positions: npt.NDArray[np.int64], findings: Findings
) -> Iterator[DatasetWarning]:
    if len(positions):
        names = findings.archive.members.names
        examples = [names[int(position)] for position in positions[:MAX_EXAMPLES]]
        yield DatasetWarning(code=code, detail=detail, count=len(positions), examples=examples)


def _warn_of_entries(findings: Findings) -> Iterator[DatasetWarning]:
    skipped = np.isin(findings.layout.notes, [NOTES.index(note) for note in SKIPPED_NOTES])
    reasons = [note for note in SKIPPED_NOTES if np.any(findings.layout.notes == NOTES.index(note))]
    yield from _warn(
        WarningCode.SKIPPED_FILE, f"Files were passed over: {'; '.join(reasons)}.", np.flatnonzero(skipped), findings
    )
    yield from _warn(
        WarningCode.UNREADABLE_IMAGE,
        "Images were left out because they cannot be read; the ledger tells why.",
        np.array(sorted(findings.rejected), np.int64),
        findings,
    )


def _warn_of_sizes(findings: Findings, splits: npt.NDArray[np.int8]) -> Iterator[DatasetWarning]:
    classes = findings.layout.classes
    counts = _count_classes(findings.layout, splits, findings.accepted, split=_TRAIN)
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    if counts[largest] >= IMBALANCE_RATIO * counts[smallest]:
        yield DatasetWarning(
            code=WarningCode.CLASS_IMBALANCE,
            detail=f"The largest class has {counts[largest]:,} training images, the smallest {counts[smallest]:,}.",
            count=2,
            examples=[classes[largest], classes[smallest]],
        )
    few = [classes[int(label)] for label in np.flatnonzero(counts < FEW_IMAGES)]
    if few:
        yield DatasetWarning(
            code=WarningCode.FEW_IMAGES,
            detail=f"Classes have fewer than {FEW_IMAGES} training images.",
            count=len(few),
            examples=few[:MAX_EXAMPLES],
        )


def _warn_of_repetitions(findings: Findings, splits: npt.NDArray[np.int8]) -> Iterator[DatasetWarning]:
    repeated: list[npt.NDArray[np.int64]] = []
    for split in (_TRAIN, _VALIDATION, _TEST):
        own = np.flatnonzero(findings.accepted & (splits == split))
        _, first = np.unique(findings.digests[own], return_index=True)
        repeated.append(np.delete(own, first))
    positions = np.sort(np.concatenate(repeated))
    yield from _warn(
        WarningCode.DUPLICATE_IMAGES, "Images repeat another of the same split, pixel for pixel.", positions, findings
    )
    train = findings.digests[findings.accepted & (splits == _TRAIN)]
    held_out = np.flatnonzero(findings.accepted & ((splits == _TEST) | (splits == _VALIDATION)))
    leaked = held_out[np.isin(findings.digests[held_out], train)]
    detail = "Images of test or validation are in train, too, pixel for pixel: accuracies will be too high."
    yield from _warn(WarningCode.TRAIN_TEST_LEAK, detail, leaked, findings)


def _warn_of_classes(findings: Findings, splits: npt.NDArray[np.int8]) -> Iterator[DatasetWarning]:
    layout = findings.layout
    for split, name in ((_TEST, "test"), (_VALIDATION, "validation")):
        counts = _count_classes(layout, splits, findings.accepted, split=split)
        missing = [layout.classes[int(label)] for label in np.flatnonzero(counts == 0)]
        if missing and counts.any():
            yield DatasetWarning(
                code=WarningCode.CLASS_MISSING_IN_TEST,
                detail=f"Classes have no image in {name}.",
                count=len(missing),
                examples=missing[:MAX_EXAMPLES],
            )
    names = ", ".join(layout.foreign_classes[:MAX_EXAMPLES])
    positions = np.flatnonzero(layout.notes == NOTES.index(UNKNOWN_CLASS))
    detail = f"Images of classes that train does not have were left out: {names}."
    yield from _warn(WarningCode.CLASS_ONLY_IN_TEST, detail, positions, findings)


def _warn_of_colors(findings: Findings) -> Iterator[DatasetWarning]:
    colored = np.flatnonzero(findings.accepted & findings.colored)
    gray = np.flatnonzero(findings.accepted & ~findings.colored)
    if len(colored) and len(gray):
        rarer = min(colored, gray, key=len)
        detail = f"{len(colored):,} images are in colour, {len(gray):,} are grayscale; the dataset counts as colour."
        yield from _warn(WarningCode.MIXED_COLOR_MODES, detail, rarer, findings)


def _warn_of_split(findings: Findings, splits: npt.NDArray[np.int8]) -> Iterator[DatasetWarning]:
    moved = np.flatnonzero(splits != findings.layout.splits)
    detail = f"There is no test split: {TEST_SHARE:.0%} of each class of train were set aside for it."
    yield from _warn(WarningCode.SPLIT_MADE, detail, moved, findings)

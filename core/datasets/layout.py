"""Which split and class each entry of an archive belongs to, told by its path alone."""

import unicodedata
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from core.datasets.limits import ArchiveLimits
from core.datasets.members import FaultList, Members
from core.domain.datasets import SPLITS, Split

IMAGE_SUFFIXES = frozenset(["png", "apng", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "gif", "webp", "tif", "tiff"])
_ARCHIVE_SUFFIXES = frozenset(["zip", "tar", "gz", "tgz", "bz2", "tbz", "xz", "txz", "zst", "rar", "7z"])
_CLUTTER = frozenset(["__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"])
_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}

NO_SPLIT = -1
FOLDER = "a folder"
CLUTTER = "clutter that systems leave behind"
NESTED = "a nested archive is not opened"
NO_IMAGE = "not an image by its suffix"
MISPLACED = "not inside a class folder"
UNKNOWN_CLASS = "its class is not in train"
NOTES = ("", FOLDER, CLUTTER, NESTED, NO_IMAGE, MISPLACED, UNKNOWN_CLASS)
"""Why an entry is ignored; the first stands for images that have a place."""
SKIPPED_NOTES = (NESTED, NO_IMAGE, MISPLACED)
"""Those that a user should hear of."""


@dataclass(frozen=True)
class Layout:
    """The place of each entry; the arrays have one item for each.

    Attributes:
        classes: Class names of ``train`` in index order: sorted by code point, in Unicode's composed form.
        splits: int8, index into ``SPLITS``, or `NO_SPLIT` where the entry is ignored.
        labels: int32, index into ``classes``.
        notes: uint8, index into `NOTES`.
        foreign_classes: Names of classes that only ``validation`` or ``test`` have.
    """

    classes: list[str]
    splits: npt.NDArray[np.int8]
    labels: npt.NDArray[np.int32]
    notes: npt.NDArray[np.uint8]
    foreign_classes: list[str]


@dataclass
class _Plan:
    """How a folder's path is read: whether a wrapping folder comes first, and whether split folders do."""

    wrapper: str | None
    has_splits: bool
    places: dict[str, tuple[Split, str] | None] = field(default_factory=dict)

    def place(self, folder: str) -> tuple[Split, str] | None:
        """Return split and class of a folder, or ``None`` where it is in no class."""
        if folder not in self.places:
            self.places[folder] = self._place(folder)
        return self.places[folder]

    def _place(self, folder: str) -> tuple[Split, str] | None:
        parts = folder.split("/") if folder else []
        if self.wrapper is not None:
            if parts[:1] != [self.wrapper]:
                return None
            parts = parts[1:]
        if not self.has_splits:
            return ("train", _compose(parts[0])) if parts else None
        split = _SPLIT_FOLDERS.get(parts[0].casefold()) if len(parts) > 1 else None
        return (split, _compose(parts[1])) if split else None


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def arrange(members: Members, *, limits: ArchiveLimits) -> Layout:
    """Find the splits and classes of an archive.

    Raises:
        DatasetRejectedError: It has no images, no ``train``, fewer than two classes or too many, or a class folder
            without a single image; with every reason.
    """
    notes, inhabited, image_folders = _read_names(members)
    faults = FaultList()
    if not image_folders:
        faults.add("", "there is no image in the archive")
        faults.raise_any()
    layout = _assign(members, notes, _plan(image_folders), inhabited)
    _check(layout, limits, faults)
    faults.raise_any()
    return layout


def _note(name: str) -> int:
    """Return what is known of an entry by its name alone, as an index into `NOTES`; 0 is an image."""
    last = name.rpartition("/")[2]
    lower = name.lower()
    if lower.startswith(".") or "/." in lower or "__macosx" in lower or last.lower() in _CLUTTER:
        is_clutter = any(part.startswith(".") or part in _CLUTTER for part in lower.removeprefix("./").split("/"))
        if is_clutter:
            return _CLUTTER_NOTE
    if not last:
        return _FOLDER_NOTE
    suffix = lower.rpartition(".")[2]
    if suffix in IMAGE_SUFFIXES and "." in last:
        return 0
    return _NESTED_NOTE if suffix in _ARCHIVE_SUFFIXES else _NO_IMAGE_NOTE


_FOLDER_NOTE, _CLUTTER_NOTE, _NESTED_NOTE, _NO_IMAGE_NOTE, _MISPLACED_NOTE, _UNKNOWN_NOTE = range(1, len(NOTES))


def _read_names(members: Members) -> tuple[npt.NDArray[np.uint8], set[str], set[str]]:
    """Return each entry's note, the folders that the archive has (clutter aside), and those that hold images."""
    notes = np.zeros(len(members), np.uint8)
    folders, image_folders = set(), set()
    for position, name in enumerate(members.names):
        note = _note(name)
        if note:
            notes[position] = note
        if note != _CLUTTER_NOTE:
            folder = name.rpartition("/")[0]
            folders.add(folder)
            if note == 0:
                image_folders.add(folder)
    return notes, folders, image_folders


def _plan(folders: set[str]) -> _Plan:
    """Tell a wrapping folder (the only one at the top, with folders inside) and split folders."""
    tops = {folder.split("/")[0] for folder in folders if folder}
    if _has_split(tops) or len(tops) != 1:
        return _Plan(None, has_splits=_has_split(tops))
    (top,) = tops
    inner = {folder.split("/")[1] for folder in folders if "/" in folder}
    if not inner:
        return _Plan(None, has_splits=False)
    return _Plan(top, has_splits=_has_split(inner))


def _has_split(names: set[str]) -> bool:
    return any(name.casefold() in _SPLIT_FOLDERS for name in names)


def _assign(members: Members, notes: npt.NDArray[np.uint8], plan: _Plan, folders: set[str]) -> Layout:
    classes: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for split, name in filter(None, map(plan.place, folders)):
        classes[split].add(name)
    train = sorted(classes["train"])
    index = {name: label for label, name in enumerate(train)}
    splits = np.full(len(members), NO_SPLIT, np.int8)
    labels = np.zeros(len(members), np.int32)
    numbers = {split: number for number, split in enumerate(SPLITS)}
    for position in np.flatnonzero(notes == 0).tolist():
        place = plan.place(members.names[position].rpartition("/")[0])
        if place is None:
            notes[position] = _MISPLACED_NOTE
        elif place[1] not in index:
            notes[position] = _UNKNOWN_NOTE
        else:
            splits[position], labels[position] = numbers[place[0]], index[place[1]]
    return Layout(
        classes=train,
        splits=splits,
        labels=labels,
        notes=notes,
        foreign_classes=sorted((classes["validation"] | classes["test"]) - classes["train"]),
    )


def _check(layout: Layout, limits: ArchiveLimits, faults: FaultList) -> None:
    train = layout.splits == SPLITS.index("train")
    if not layout.classes:
        faults.add("", "there is no train folder with class folders in it")
    elif len(layout.classes) < 2:
        faults.add(layout.classes[0], "is the only class; at least two are needed")
    if len(layout.classes) > limits.classes:
        faults.add("", f"there are {len(layout.classes):,} classes, more than {limits.classes:,}")
    for label in np.flatnonzero(np.bincount(layout.labels[train], minlength=len(layout.classes)) == 0):
        faults.add(layout.classes[int(label)], "the class has no image in train")

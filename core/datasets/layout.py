"""Which split and class each entry of an archive belongs to, told by its path alone."""

import unicodedata
from array import array
from dataclasses import dataclass

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
_NO_LABEL = -1
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


@dataclass(frozen=True)
class _Plan:
    """How a folder's path is read: whether a wrapping folder comes first, and whether split folders do."""

    wrapper: str | None
    has_splits: bool

    def place(self, folder: str) -> tuple[Split, str] | None:
        """Return split and class of a folder, or ``None`` where it is in no class."""
        parts = folder.split("/") if folder not in ("", ".") else []
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
    names = _read_names(members)
    image_folders = names.find_folders(names.notes == 0)
    faults = FaultList()
    if not image_folders:
        faults.add("", "there is no image in the archive")
        faults.raise_any()
    layout = _assign(names, _plan(image_folders))
    _check(layout, limits, faults)
    faults.raise_any()
    return layout


_FOLDER_NOTE, _CLUTTER_NOTE, _NESTED_NOTE, _NO_IMAGE_NOTE, _MISPLACED_NOTE, _UNKNOWN_NOTE = range(1, len(NOTES))


@dataclass(frozen=True)
class _Names:
    """What the entries' names tell.

    Attributes:
        notes: uint8, what is known of each entry by its name alone, as an index into `NOTES`; 0 is an image.
        folders: Every folder's path, in the order in which they are met.
        places: int64, the folder of each entry, as an index into ``folders``.
    """

    notes: npt.NDArray[np.uint8]
    folders: list[str]
    places: npt.NDArray[np.int64]

    def find_folders(self, notes: npt.NDArray[np.bool_]) -> set[str]:
        """Return the folders of the entries that are chosen."""
        return {self.folders[place] for place in np.unique(self.places[notes])}


def _read_names(members: Members) -> _Names:
    notes, places = array("B"), array("q")
    numbers: dict[str, int] = {}
    clutter: list[bool] = []
    for name in members.names:
        folder, _, last = name.rpartition("/")
        place = numbers.setdefault(folder, len(clutter))
        if place == len(clutter):
            clutter.append(folder != "." and any(map(is_clutter, folder.lower().split("/"))))
        places.append(place)
        notes.append(_CLUTTER_NOTE if clutter[place] else _note(last.lower()))
    return _Names(np.array(notes, np.uint8), list(numbers), np.array(places, np.int64))


def _note(last: str) -> int:
    """Return what is known of an entry by the last part of its path, in lower case."""
    if not last:
        return _FOLDER_NOTE
    if is_clutter(last):
        return _CLUTTER_NOTE
    stem, _, suffix = last.rpartition(".")
    if not stem:
        return _NO_IMAGE_NOTE
    if suffix in IMAGE_SUFFIXES:
        return 0
    return _NESTED_NOTE if suffix in _ARCHIVE_SUFFIXES else _NO_IMAGE_NOTE


def is_clutter(part: str) -> bool:
    """Return whether a part of a path, in lower case, is what systems leave behind."""
    return part.startswith(".") or part in _CLUTTER


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


def _assign(names: _Names, plan: _Plan) -> Layout:
    places = [plan.place(folder) for folder in names.folders]
    inhabited = names.find_folders(names.notes != _CLUTTER_NOTE)
    classes: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for split, name in filter(None, map(plan.place, inhabited)):
        classes[split].add(name)
    train = sorted(classes["train"])
    numbers = {split: number for number, split in enumerate(SPLITS)}
    index = {name: label for label, name in enumerate(train)}
    folder_splits = np.array([numbers[place[0]] if place else NO_SPLIT for place in places], np.int8)
    folder_labels = np.array([index.get(place[1], _NO_LABEL) if place else _NO_LABEL for place in places], np.int32)
    splits, labels, notes = folder_splits[names.places], folder_labels[names.places], names.notes.copy()
    notes[(notes == 0) & (labels == _NO_LABEL)] = _UNKNOWN_NOTE
    notes[(notes == _UNKNOWN_NOTE) & (splits == NO_SPLIT)] = _MISPLACED_NOTE
    return Layout(
        classes=train,
        splits=np.where(notes == 0, splits, NO_SPLIT).astype(np.int8),
        labels=np.where(notes == 0, labels, 0).astype(np.int32),
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

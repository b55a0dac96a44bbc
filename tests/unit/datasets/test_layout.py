import numpy as np
import pytest

from core.datasets.layout import NOTES, arrange
from core.datasets.limits import ArchiveLimits
from core.domain.datasets import SPLITS
from core.errors import DatasetRejectedError


@pytest.fixture
def lay_out(opened, zip_bytes, entry):
    """Return a function of entry names that gives the layout and a readable form of each entry's place."""

    def lay(*names, **limits):
        members = opened(zip_bytes(*(entry(name, b"" if name.endswith("/") else b"x") for name in names))).members
        layout = arrange(members, limits=ArchiveLimits(**limits))
        places = {}
        for name, split, label, note in zip(
            members.names, layout.splits.tolist(), layout.labels.tolist(), layout.notes.tolist(), strict=True
        ):
            places[name] = NOTES[note] if note else f"{SPLITS[split]}:{layout.classes[label]}"
        return layout, places

    return lay


def test_split_folders_give_splits_and_sorted_classes(lay_out):
    layout, places = lay_out("train/b/1.png", "train/a/1.png", "test/b/2.png", "val/a/3.png", "train/a/deep/er/4.jpg")
    assert layout.classes == ["a", "b"]
    assert list(places.values()) == ["train:b", "train:a", "test:b", "validation:a", "train:a"]


@pytest.mark.parametrize("folder", ["val", "validation", "valid", "Val", "VALIDATION"])
def test_validation_has_several_names(folder, lay_out):
    _, places = lay_out("train/a/1.png", "train/b/1.png", f"{folder}/a/2.png")
    assert places[f"{folder}/a/2.png"] == "validation:a"


def test_case_of_split_folders_does_not_matter(lay_out):
    _, places = lay_out("Train/a/1.png", "train/b/1.png", "TEST/a/2.png")
    assert list(places.values()) == ["train:a", "train:b", "test:a"]


def test_one_wrapping_folder_is_passed_over(lay_out):
    _, places = lay_out("My data/train/a/1.png", "My data/train/b/1.png", "My data/cover.png", "readme.png")
    assert list(places.values()) == ["train:a", "train:b", "not inside a class folder", "not inside a class folder"]


def test_class_folders_alone_are_train_with_or_without_a_wrapping_folder(lay_out):
    assert list(lay_out("a/1.png", "b/x/1.png", "top.png")[1].values()) == [
        "train:a",
        "train:b",
        "not inside a class folder",
    ]
    assert list(lay_out("pets/a/1.png", "pets/b/1.png")[1].values()) == ["train:a", "train:b"]


def test_a_tar_of_the_folder_itself_is_read_as_its_contents(lay_out):
    layout, places = lay_out("./", "./cats/", "./cats/1.png", "./dogs/1.png")
    assert layout.classes == ["cats", "dogs"]
    assert list(places.values())[2:] == ["train:cats", "train:dogs"]


def test_clutter_folders_and_other_files_are_ignored_with_a_reason(lay_out):
    # A38: a nested archive is never opened
    _, places = lay_out(
        "train/",
        "train/a/1.png",
        "train/b/1.PNG",
        "__MACOSX/train/a/._1.png",
        "train/.DS_Store",
        "train/a/Thumbs.db",
        "desktop.ini",
        "train/a/.hidden.png",
        ".git/a/1.png",
        "train/a/more.zip",
        "train/a/notes.txt",
        "train/a/png",
        "train/1.png",
        "docs/plan.png",
    )
    clutter = "clutter that systems leave behind"
    assert list(places.values()) == [
        "a folder",
        "train:a",
        "train:b",
        *[clutter] * 6,
        "a nested archive is not opened",
        "not an image by its suffix",
        "not an image by its suffix",
        "not inside a class folder",
        "not inside a class folder",
    ]


def test_a_class_that_train_lacks_is_left_out_and_shifts_no_index(lay_out):
    layout, places = lay_out("train/b/1.png", "train/c/1.png", "test/a/1.png", "test/c/1.png")
    assert layout.classes == ["b", "c"]
    assert layout.foreign_classes == ["a"]
    assert places["test/a/1.png"] == "its class is not in train"
    assert places["test/c/1.png"] == "test:c"


def test_class_names_are_matched_in_unicodes_composed_form(lay_out):
    layout, places = lay_out("train/cafe\u0301/1.png", "train/x/1.png", "test/caf\u00e9/2.png")
    assert layout.classes == ["caf\u00e9", "x"]
    assert places["test/caf\u00e9/2.png"] == "test:caf\u00e9"


def test_index_follows_code_points(lay_out):
    layout, _ = lay_out(*(f"train/{name}/1.png" for name in ["10", "2", "B", "a", "ä", "🐈"]))
    assert layout.classes == ["10", "2", "B", "a", "ä", "🐈"]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        # A44
        (["train/a/", "readme.txt"], "no image"),
        (["__MACOSX/a/1.png", ".DS_Store"], "no image"),
        (["train/a/1.png"], "a: is the only class"),
        (["a/1.png"], "a: is the only class"),
        (["train/a/1.png", "train/b/1.png", "train/empty/"], "empty: the class has no image"),
        (["train/a/1.png", "train/b/1.png", "train/texts/1.txt"], "texts: the class has no image"),
        (["test/a/1.png", "test/b/1.png"], "no train folder"),
        (["1.png", "2.png"], "no train folder"),
    ],
)
def test_archives_that_are_no_dataset_are_refused(names, reason, lay_out):
    with pytest.raises(DatasetRejectedError) as error:
        lay_out(*names)
    assert reason in " | ".join(f"{fault.pointer}: {fault.detail}" for fault in error.value.faults)


def test_number_of_classes_is_bounded(lay_out):
    with pytest.raises(DatasetRejectedError, match="3 classes, more than 2"):
        lay_out("a/1.png", "b/1.png", "c/1.png", classes=2)


def test_splits_of_ignored_entries_are_marked(lay_out):
    layout, _ = lay_out("train/a/1.png", "train/b/1.png", "x.txt")
    assert np.flatnonzero(layout.splits == -1).tolist() == [2]

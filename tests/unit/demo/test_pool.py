import zipfile

import pytest

from client.types import Job, Report
from demo.pool import TRAININGS, Trained, failings, unseen_pictures


@pytest.fixture
def archive(tmp_path):
    def make(*names):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
            for name in names:
                opened.writestr(name, name)
        return tmp_path / "a.zip"

    return make


def trained(status="succeeded", accuracy=0.99, **more):
    job = Job(id="job_1", name="lenet5", status=status, **more)
    return Trained(job, Report(accuracy=accuracy) if status == "succeeded" else None)


def test_one_unseen_picture_of_each_class_is_taken(archive, tmp_path):
    path = archive("train/a/1.png", "test/a/2.png", "test/a/1.png", "wrapped/test/b/1.JPG", "test/b/readme.txt")
    pictures = unseen_pictures(path, tmp_path)
    assert {file.read_text(): name for file, name in pictures.items()} == {
        "test/a/1.png": "a",
        "wrapped/test/b/1.JPG": "b",
    }


def test_names_in_the_archive_never_become_paths(archive, tmp_path):
    pictures = unseen_pictures(archive("test/../../x.png", "/test/a/1.png"), tmp_path)
    assert all(file.parent == tmp_path and file.name.startswith("unseen-") for file in pictures)


def test_many_classes_give_some_pictures(archive, tmp_path):
    assert len(unseen_pictures(archive(*(f"test/{n}/1.png" for n in range(30))), tmp_path)) == 10


def test_what_has_no_test_pictures_gives_none(archive, tmp_path):
    (tmp_path / "a.tar").write_bytes(b"tar")
    assert unseen_pictures(tmp_path / "a.tar", tmp_path) == {}
    assert unseen_pictures(archive("a/1.png"), tmp_path) == {}


def test_three_trainings_that_do_well_have_no_failings():
    assert failings([trained()] * 3, least_accuracy=0.95) == []


def test_a_job_that_failed_is_told_with_its_reason():
    one = trained("failed", error={"code": "diverged", "detail": "NaN."})
    assert failings([one], least_accuracy=None) == ["lenet5 is failed: NaN."]


@pytest.mark.parametrize("status", ["queued", "cancelled"])
def test_a_job_that_did_not_succeed_is_told(status):
    assert failings([trained(status)], least_accuracy=None) == [f"lenet5 is {status}"]


@pytest.mark.parametrize("accuracy", [0.94, None])
def test_an_accuracy_that_is_too_low_or_missing_is_told(accuracy):
    assert "less than 95.00 %" in failings([trained(accuracy=accuracy)], least_accuracy=0.95)[0]
    assert failings([trained(accuracy=accuracy)], least_accuracy=None) == []


def test_the_three_trainings_differ_in_architecture():
    architectures = {config.get("architecture", config.get("preset")) for config in TRAININGS.values()}
    assert architectures == {"lenet5", "lenet5-bn", "lenet-wide"}


def test_what_a_mac_adds_to_an_archive_is_no_picture(archive, tmp_path):
    path = archive("__MACOSX/pets/test/cat/._a.png", "pets/test/cat/.hidden.png", "pets/test/cat/a.png")
    (picture,) = unseen_pictures(path, tmp_path)
    with zipfile.ZipFile(path) as opened:
        assert picture.read_bytes() == opened.read("pets/test/cat/a.png")

import io
import os
import zipfile

import pytest

from client.archives import open_archive
from client.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("train/cat/b.png", "train/cat/a.bmp", "test/dog/c.JPG"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(name.encode() * 100)
    return tmp_path / "pets"


def test_a_folder_is_packed_by_its_relative_paths(folder):
    with open_archive(folder) as archive, zipfile.ZipFile(io.BytesIO(archive.file.read())) as opened:
        assert archive.name == "pets"
        assert opened.namelist() == ["test/dog/c.JPG", "train/cat/a.bmp", "train/cat/b.png"]
        assert opened.read("train/cat/a.bmp") == b"train/cat/a.bmp" * 100


def test_a_folder_packs_to_the_same_bytes_each_time(folder):
    with open_archive(folder) as first, open_archive(folder) as second:
        assert first.file.read() == second.file.read()


def test_only_what_is_not_packed_yet_is_packed(folder):
    with open_archive(folder) as archive, zipfile.ZipFile(archive.file) as opened:
        kinds = {entry.filename: entry.compress_type for entry in opened.infolist()}
    assert kinds["train/cat/a.bmp"] == zipfile.ZIP_DEFLATED
    assert kinds["test/dog/c.JPG"] == zipfile.ZIP_STORED


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no files"), open_archive(tmp_path):
        pass


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"), open_archive(tmp_path / "none.zip"):
        pass


def test_an_error_while_it_is_open_is_not_taken_for_an_unreadable_file(folder):
    with pytest.raises(OSError, match="disk"), open_archive(folder):
        raise OSError("disk")


@pytest.mark.parametrize(("content", "is_zip"), [(b"", False), (b"anything", False)])
def test_what_is_no_zip_is_known(tmp_path, content, is_zip):
    (tmp_path / "a.tar").write_bytes(content)
    with open_archive(tmp_path / "a.tar") as archive:
        assert (archive.is_zip, archive.size_bytes) == (is_zip, len(content))


def test_a_name_in_a_folder_that_is_no_utf_8_is_packed_as_far_as_it_can_be(folder):
    (folder / "train/cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    with open_archive(folder) as archive, zipfile.ZipFile(archive.file) as opened:
        assert "train/cat/caf\ufffd.png" in opened.namelist()

"""What the client writes: a whole file in the place that was named, whatever kind of place that is."""

import os
import threading

import pytest

from client.errors import InputError
from client.files import replacing, write_file


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "model") as file:
        file.write({b"half": b""}[b"whole"])
    assert list(tmp_path.iterdir()) == []
    assert write_file(tmp_path / "model", b"whole").read_bytes() == b"whole"


def test_a_link_is_followed(tmp_path):
    (tmp_path / "kept").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "kept").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_file(tmp_path / "pipe", b"through")
    reader.join(10)
    assert read == [b"through"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="none/model cannot be written"):
        write_file(tmp_path / "none" / "model", b"x")
    with pytest.raises(InputError, match="cannot be written"):
        write_file(tmp_path, b"x")

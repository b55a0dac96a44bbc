import errno
import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from core.errors import IntegrityError
from core.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint

PLAIN = {"place": {"epoch": 3, "loss": 0.1 + 0.2}, "best": float("inf")}


@pytest.fixture
def path(tmp_path):
    return write_checkpoint(tmp_path, Checkpoint(PLAIN, {"weights": np.arange(5.0)}), epoch=3, batch=7)


def test_what_was_written_is_read(path):
    content = read_checkpoint(path)
    assert content.arrays["weights"].tolist() == [0, 1, 2, 3, 4]
    assert content.plain == PLAIN


def test_nothing_half_written_is_left(path):
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("length", [0, 10, 40, 60, 150])
def test_a_torn_checkpoint_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(IntegrityError, match="torn"):
        read_checkpoint(path)


def test_a_flipped_bit_is_refused(path):
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="torn"):
        read_checkpoint(path)


def test_a_whole_file_of_something_else_is_refused(path):
    payload = b"no arrays at all"
    path.write_bytes(b"lenet-checkpoint-2\n" + hashlib.sha256(payload).digest() + payload)
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_checkpoint(path)


def test_the_last_two_are_kept(tmp_path):
    for epoch in (8, 9, 10):
        write_checkpoint(tmp_path, Checkpoint({}, {}), epoch=epoch, batch=0)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "checkpoint-0009-0000000.pt",
        "checkpoint-0010-0000000.pt",
    ]


def test_a_checkpoint_is_synced_before_it_is_named_and_its_name_after(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor):
        events.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def noting_replace(path, target):
        events.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    write_checkpoint(tmp_path, Checkpoint({}, {}), epoch=1, batch=0)
    assert events == ["sync file", "rename", "sync folder"]


def test_a_checkpoint_that_cannot_be_synced_is_not_there(tmp_path, monkeypatch):
    def failing(descriptor):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="input/output"):
        write_checkpoint(tmp_path, Checkpoint({}, {}), epoch=1, batch=0)
    assert list(tmp_path.glob("*.pt")) == []

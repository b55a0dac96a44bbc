"""What is the folder's own; what every store promises stands in the contract suite."""

import errno
import io
import os
import resource
import shutil
import stat
import threading
import time
from pathlib import Path

import pytest

from core.errors import ObjectNotFoundError, StoreUnavailableError
from core.storage import folder
from core.storage.folder import FolderStore

KEY = "a/b/c"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return FolderStore(root)


@pytest.fixture
def disk_that_fills():
    """Let no file grow over 64 KiB: writing further fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def put(store, key=KEY, content=b"content"):
    return store.put(key, io.BytesIO(content))


def partial(root):
    return list((root / ".partial").iterdir())


def test_the_file_of_an_object_can_be_read_in_place(store, root):
    put(store)
    assert store.local_path(KEY) == root / KEY
    assert (root / KEY).read_bytes() == b"content"


def test_a_write_leaves_no_temporary_file(store, root):
    put(store)
    assert partial(root) == []


@pytest.mark.usefixtures("disk_that_fills")
def test_a_disk_that_fills_is_unavailable_and_nothing_is_left(store, root):
    put(store, content=b"before")
    with pytest.raises(StoreUnavailableError) as caught:
        put(store, content=b"x" * 200_000)
    assert str(root) not in caught.value.detail
    assert partial(root) == []
    assert (root / KEY).read_bytes() == b"before"


def test_fetching_to_a_disk_that_fills_leaves_no_file_and_is_not_the_stores_fault(store, tmp_path, request):
    put(store, content=b"x" * 200_000)
    request.getfixturevalue("disk_that_fills")
    (tmp_path / "cache").mkdir()
    with pytest.raises(OSError, match="File too large"):
        store.fetch(KEY, tmp_path / "cache" / "file")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_root_that_is_a_file_is_unavailable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = FolderStore(tmp_path / "file")
    for ask in (store.check, lambda: put(store)):
        with pytest.raises(StoreUnavailableError):
            ask()
    with pytest.raises(ObjectNotFoundError):
        store.stat(KEY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_unavailable(store, root):
    root.mkdir(mode=0o500)
    with pytest.raises(StoreUnavailableError, match="Permission denied"):
        store.check()


def test_check_makes_the_folder_and_leaves_it_empty(store, root):
    store.check()
    assert partial(root) == []
    assert list(store.list()) == []


def test_check_clears_what_a_killed_writer_left_a_day_ago_and_nothing_newer(store, root):
    store.check()
    for name, age_hours in (("old", 25), ("new", 23)):
        for path in (root / ".partial" / name, root / ".partial" / f"{name}-folder" / "inner"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
            moment = time.time() - age_hours * 3600
            os.utime(path, (moment, moment))
            if path.parent.name != ".partial":
                os.utime(path.parent, (moment, moment))
    store.check()
    assert sorted(path.name for path in partial(root)) == ["new", "new-folder"]


def test_list_passes_over_what_no_key_names(store, root):
    put(store)
    (root / "README").write_bytes(b"")
    (root / ".partial" / "left").write_bytes(b"")
    assert [found.key for found in store.list()] == [KEY]


def test_a_prefix_that_is_deleted_goes_at_once_for_every_reader(store, root):
    put(store, "jobs/1/x")
    put(store, "jobs/2/y")
    store.delete_prefix("jobs/1")
    assert not (root / "jobs/1").exists()
    assert partial(root) == []


def test_a_deletion_that_is_under_way_does_not_look_abandoned(store, root, monkeypatch):
    put(store, "jobs/1/x")
    os.utime(root / "jobs/1", (0, 0))

    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", broken)
    with pytest.raises(StoreUnavailableError):
        store.delete_prefix("jobs/1")
    monkeypatch.undo()
    store.check()
    assert len(partial(root)) == 1
    assert list(store.list()) == []


def test_an_open_object_can_be_read_to_its_end_after_its_prefix_is_deleted(store):
    put(store)
    with store.open(KEY) as file:
        store.delete_prefix("a")
        assert file.read() == b"content"


@pytest.mark.parametrize("made", ["a", "a/b"])
def test_a_prefix_that_is_deleted_just_when_its_folder_was_made_is_made_again(store, root, monkeypatch, made):
    make_folder = folder._make_folder
    deletions = [1, 2]

    def make_and_lose(path):
        make_folder(path)
        if path == root / made and deletions:
            deletions.pop()
            store.delete_prefix("a")

    monkeypatch.setattr(folder, "_make_folder", make_and_lose)
    put(store)
    assert deletions == []
    assert (root / KEY).read_bytes() == b"content"


def test_writing_outlasts_a_prefix_that_is_deleted_all_the_time(store):
    stop = threading.Event()
    failures = []

    def delete():
        try:
            while not stop.is_set():
                store.delete_prefix("a")
                time.sleep(0.001)
        except Exception as error:  # noqa: BLE001  # told to the test
            failures.append(error)

    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        for _ in range(30):
            put(store)
    finally:
        stop.set()
        deleter.join()
    assert failures == []


def test_an_object_is_synced_before_it_is_named_and_its_name_after(store, root, monkeypatch):
    put(store)  # makes the folders
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
    put(store)
    assert events == ["sync file", "rename", "sync folder"]

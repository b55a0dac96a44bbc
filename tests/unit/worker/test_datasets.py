"""What becomes of an archive that is read: a real database, a store in memory, the real decoding process."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from core.datasets.cache import PackCache
from core.datasets.decoders import Decoders
from core.db.engine import open_engine, open_sessions, read_clock, transaction
from core.db.rows import DatasetRow, PackRow, Row
from core.errors import IntegrityError, StoreUnavailableError
from core.services import keys
from core.settings import Settings
from core.storage.folder import FolderStore
from core.storage.memory import MemoryStore
from worker import job_writer
from worker.datasets import local_archive, read_next_dataset
from worker.host import Host
from worker.slots import Slots

KEY = "tenants/t/datasets/ds_1/archive"


@pytest.fixture
def sessions(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/lenet.db")
    Row.metadata.create_all(engine)
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def host(sessions, tmp_path):
    return Host(
        settings=Settings(data_dir=tmp_path),
        sessions=sessions,
        heartbeats=sessions,
        store=MemoryStore(),
        packs=PackCache(tmp_path / "cache", 2**20),
        sender=None,
        name="w1",
        role="ingest",
        device="cpu",
    )


@pytest.fixture
def decoders():
    opened = Decoders()
    yield opened
    opened.close()


@pytest.fixture
def read(host, decoders):
    """Return a function that stores an archive of named files, has it read, and gives its row."""

    def run(files):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        data = buffer.getvalue()
        host.store.put(KEY, io.BytesIO(data))
        with transaction(host.sessions) as session:
            now, tenant = read_clock(session), keys.ensure_tenant(session, "zoo")
            session.add(
                DatasetRow(
                    id="ds_1", tenant_id=tenant, name="d", status="processing", size_bytes=len(data), attempt=0,
                    sha256=hashlib.sha256(data).hexdigest(), archive_key=KEY, created_at=now, updated_at=now,
                )
            )  # fmt: skip
        assert read_next_dataset(host, decoders, Slots(1, lambda _: False))
        with transaction(host.sessions, read_only=True) as session:
            return session.get_one(DatasetRow, "ds_1")

    return run


def picture(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file() and "lenet.db" not in path.name]


def test_a_dataset_that_is_ready_keeps_its_archive_pack_and_preview(read, host, tmp_path):
    row = read({f"train/{'ab'[n % 2]}/{n}.png": picture(n) for n in range(8)})
    assert row.status == "ready"
    assert len(list(host.store.list())) == 3
    assert files_below(tmp_path) == []


def test_a_rejected_dataset_leaves_its_row_and_nothing_else(read, host, tmp_path):
    row = read({"train/a/1.png": picture(1), "../evil.png": b"x"})
    assert row.status == "rejected"
    assert [fault["pointer"] for fault in row.error["errors"]] == ["../evil.png"]
    assert list(host.store.list()) == []
    assert files_below(tmp_path) == []
    with transaction(host.sessions, read_only=True) as session:
        assert session.scalars(select(PackRow)).all() == []


def test_a_store_in_trouble_keeps_no_dataset_from_being_rejected(read, host, monkeypatch):
    def fail(_):
        raise StoreUnavailableError("The store does not answer.")

    monkeypatch.setattr(host.store, "delete", fail)
    assert read({"note.txt": b"x"}).status == "rejected"
    assert len(list(host.store.list())) == 1  # the collection takes it


def test_a_store_that_is_away_for_a_moment_costs_no_attempt(read, host, monkeypatch):
    put_file, asked = host.store.put_file, []

    def fail_twice(*arguments):
        asked.append(arguments)
        if len(asked) <= 2:
            raise StoreUnavailableError("The store does not answer.")
        return put_file(*arguments)

    monkeypatch.setattr(host.store, "put_file", fail_twice)
    monkeypatch.setattr(job_writer, "_RETRY_SECONDS", 0.01)
    row = read({f"train/{'ab'[n % 2]}/{n}.png": picture(n) for n in range(8)})
    assert (row.status, row.attempt) == ("ready", 1)


def test_an_archive_that_has_changed_in_the_store_is_not_read(tmp_path):
    store = FolderStore(tmp_path / "store")
    stored = store.put(KEY, io.BytesIO(b"archive"))
    assert local_archive(store, KEY, stored.sha256, tmp_path).read_bytes() == b"archive"
    (tmp_path / "store" / KEY).write_bytes(b"changed")
    with pytest.raises(IntegrityError, match="uploaded"):
        local_archive(store, KEY, stored.sha256, tmp_path)

"""A database of its own with one dataset that is ready, and its pack in a store."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from core.datasets.packs import PackWriter
from core.db.engine import Sessions, open_engine, open_sessions, transaction
from core.db.migrations import migrate
from core.db.rows import DatasetRow, PackRow, TenantRow
from core.domain.datasets import EntryCounts, ImageSummary, Manifest
from core.services import keys
from core.storage.store import ObjectStore


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    """Return sessions of the database that a worker with this folder as data directory has."""
    url = f"sqlite:///{tmp_path}/lenet.db"
    migrate(url)
    engine = open_engine(url)
    yield open_sessions(engine)
    engine.dispose()


@pytest.fixture
def add_dataset(sessions: Sessions, tmp_path: Path) -> Callable[[ObjectStore], str]:
    """Return the function that adds the dataset ``ds_1`` with its pack in a store, and returns its tenant."""

    def add(store: ObjectStore) -> str:
        with transaction(sessions) as session:
            tenant = keys.ensure_tenant(session, "zoo")
            moment = session.get_one(TenantRow, tenant).created_at
            session.add(
                DatasetRow(
                    id="ds_1", tenant_id=tenant, name="d", status="ready", size_bytes=1, sha256="s", archive_key="a",
                    manifest=_describe(), created_at=moment, updated_at=moment,
                )
            )  # fmt: skip
            session.flush()
            session.add(_store_pack(tmp_path / "pack", store, moment))
        return tenant

    return add


def _describe() -> dict:
    return Manifest(
        classes=["a", "b", "c"],
        counts={"train": {"a": 20, "b": 20, "c": 20}, "validation": None, "test": {"a": 5, "b": 5, "c": 5}},
        images=ImageSummary(total=75, modes={"L": 75}, min_size=(32, 32), max_size=(32, 32)),
        color_mode="grayscale",
        warnings=[],
        entries=EntryCounts(accepted=75, rejected=0, ignored=0),
    ).model_dump(mode="json")


def _store_pack(path: Path, store: ObjectStore, moment: object) -> PackRow:
    labels = np.arange(75, dtype=np.int32) % 3
    draw = np.random.default_rng(0)
    writer = PackWriter(path, image_size=32, color_mode="grayscale")
    writer.append((draw.integers(0, 60, (75, 32, 32, 1)) + labels[:, None, None, None] * 90).astype(np.uint8))
    splits = np.repeat(np.array([0, 2], np.uint8), [60, 15])
    paths = [f"{number}.png" for number in range(75)]
    digest = writer.finish(labels=labels, splits=splits, paths=paths, classes=["a", "b", "c"])
    stored = store.put_file("tenants/t/datasets/ds_1/packs/x", path)
    return PackRow(
        dataset_id="ds_1", image_size=32, color_mode="grayscale", digest=digest, key=stored.key,
        size_bytes=stored.size_bytes, created_at=moment,
    )  # fmt: skip

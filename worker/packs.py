"""Gives work the pack that it stands on: from this host's cache, from the store, or made from the archive."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.datasets.cache import hold_lock
from core.datasets.process import run_build_pack
from core.db.engine import transaction
from core.db.rows import DatasetRow, PackRow
from core.domain.datasets import ColorMode
from core.errors import IntegrityError
from core.services.datasets import get_dataset
from core.services.ingest import find_pack, record_pack
from core.storage import keys
from worker.datasets import local_archive
from worker.host import Host
from worker.job_writer import PatientWriter


@dataclass(frozen=True)
class PackOrder:
    """Which pack is wanted: of whose dataset, with images of which side in pixels and which colour mode."""

    tenant_id: str
    dataset_id: str
    image_size: int
    color_mode: ColorMode


@dataclass(frozen=True)
class LocalPack:
    """A pack on this host, and the hashes by name of what it was made of and is."""

    path: Path
    hashes: dict[str, str]


@contextmanager
def use_pack(host: Host, order: PackOrder, writer: PatientWriter) -> Iterator[LocalPack]:
    """Yield a pack as a local file; it stays while it is used.

    Raises:
        LeaseLostError: What it is wanted for is no longer held; a pack that is being made is given up.
        PreemptedError: The worker stops; likewise.
        DatasetRejectedError: The archive cannot become such a pack.
    """
    archive_sha256, pack = writer.insist(lambda: _find_or_make(host, order, check=writer.check))

    def fetch(path: Path) -> None:
        writer.insist(lambda: host.store.fetch(pack.key, path, sha256=pack.digest, size_bytes=pack.size_bytes))

    with host.packs.use(pack.digest, fetch, check=writer.check) as path:
        yield LocalPack(path, {"archive_sha256": archive_sha256, "pack_sha256": pack.digest})


def _find_or_make(host: Host, order: PackOrder, *, check: Callable[[], None]) -> tuple[str, PackRow]:
    """Return the hash of the archive that the pack comes from, and the pack."""
    size, mode = order.image_size, order.color_mode
    with one_maker(host, f"{order.dataset_id}-{size}-{mode}", check):
        with transaction(host.sessions, read_only=True) as session:
            dataset = get_dataset(session, order.tenant_id, order.dataset_id)
            pack = find_pack(session, order.dataset_id, image_size=size, color_mode=mode)
        return dataset.sha256, pack or _make(host, order, dataset, check=check)


@contextmanager
def one_maker(host: Host, name: str, check: Callable[[], None]) -> Iterator[None]:
    """Let one process of this host at a time make a pack; the others find it made, and ``check`` while they wait."""
    folder = host.settings.cache_dir / "making"
    folder.mkdir(parents=True, exist_ok=True)
    lock = hold_lock(folder / name, fcntl.LOCK_EX, check)
    try:
        yield
    finally:
        (folder / name).unlink(missing_ok=True)
        os.close(lock)


def _make(host: Host, order: PackOrder, dataset: DatasetRow, *, check: Callable[[], None]) -> PackRow:
    size, mode = order.image_size, order.color_mode
    with host.scratch("pack") as folder:
        archive = local_archive(host.store, dataset.archive_key, dataset.sha256, folder)
        digest = run_build_pack(
            archive,
            folder,
            image_size=size,
            color_mode=mode,
            settings=host.settings,
            on_progress=lambda _: check(),
        )
        key = keys.pack(order.tenant_id, order.dataset_id, image_size=size, color_mode=mode, digest=digest)
        stored = host.store.put_file(key, folder / "pack")
    with transaction(host.sessions) as session:
        record_pack(session, order.dataset_id, stored, image_size=size, color_mode=mode)
        made = find_pack(session, order.dataset_id, image_size=size, color_mode=mode)
    if made is None:
        raise IntegrityError("The pack that was just recorded is not there.")
    return made

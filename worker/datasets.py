"""Reads datasets: claims one, has it decoded in a process of its own, and stores what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import logs
from core.crash_points import reach
from core.datasets.decoders import Decoders
from core.datasets.ingest import IngestResult
from core.datasets.process import run_ingest
from core.db.engine import transaction
from core.errors import DatasetRejectedError, LeaseLostError, LenetError
from core.services.ingest import DatasetClaim, accept_dataset, claim_dataset, reject_dataset, renew_dataset
from core.storage import keys
from core.storage.store import ObjectStore
from worker.host import Host
from worker.lease import Lease
from worker.slots import Slots

_log = logs.get(__name__)


def read_next_dataset(host: Host, decoders: Decoders, slots: Slots) -> bool:
    """Read one dataset that waits; return whether there was one.

    The next one's decoder is started when this one is done, so as to take no processor from it.
    """
    settings = host.settings
    with transaction(host.sessions) as session:
        claim = claim_dataset(
            session, worker=host.name, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts
        )
    if claim is None:
        return False
    reach("d.claim_before_beat")
    slots.enter(claim.dataset_id)
    try:
        with host.scratch("dataset") as folder, _lease(host, claim) as lease:
            _read(host, decoders, claim, lease, folder)
    except LeaseLostError:
        _log.warning("the dataset is no longer ours", dataset=claim.dataset_id, attempt=claim.attempt)
    except LenetError as error:
        _log.error("the dataset could not be read now", dataset=claim.dataset_id, detail=error.detail)
    finally:
        slots.leave(claim.dataset_id)
        decoders.prepare()
    return True


def _lease(host: Host, claim: DatasetClaim) -> Lease:
    def renew() -> None:
        with transaction(host.heartbeats) as session:
            renew_dataset(session, claim, lease_seconds=host.settings.lease_seconds)

    return Lease(renew, lease_seconds=host.settings.lease_seconds, heartbeat_seconds=host.settings.heartbeat_seconds)


def _read(host: Host, decoders: Decoders, claim: DatasetClaim, lease: Lease, folder: Path) -> None:
    try:
        with local_archive(host.store, claim.archive_key, claim.sha256, folder) as archive:
            result = run_ingest(
                archive, folder, settings=host.settings, on_progress=lambda _: lease.check(), decoders=decoders
            )
    except DatasetRejectedError as error:
        _reject(host, claim, error, folder)
    else:
        _accept(host, claim, result, folder)


def _accept(host: Host, claim: DatasetClaim, result: IngestResult, folder: Path) -> None:
    manifest = result.manifest
    pack = host.store.put_file(
        keys.pack(
            claim.tenant_id,
            claim.dataset_id,
            image_size=result.image_size,
            color_mode=manifest.color_mode,
            digest=result.digest,
        ),
        folder / "pack",
    )
    preview_key = keys.dataset_preview(claim.tenant_id, claim.dataset_id)
    host.store.put_file(preview_key, folder / "preview.png")
    reach("d.put_before_commit")
    with transaction(host.sessions) as session:
        accept_dataset(
            session,
            claim,
            manifest=manifest,
            ledger=_ledger(folder),
            pack=pack,
            image_size=result.image_size,
            preview_key=preview_key,
        )
    _log.info("dataset ready", dataset=claim.dataset_id, images=manifest.images.total)


def _reject(host: Host, claim: DatasetClaim, error: DatasetRejectedError, folder: Path) -> None:
    with transaction(host.sessions) as session:
        reject_dataset(session, claim, error, ledger=_ledger(folder))
    _discard(host, claim)
    _log.info("dataset rejected", dataset=claim.dataset_id, detail=error.detail)


def _discard(host: Host, claim: DatasetClaim) -> None:
    """Delete an archive that was rejected; where the store is in trouble, it is left to the collection."""
    try:
        host.store.delete(claim.archive_key)
    except LenetError as error:
        _log.warning("a rejected archive stays behind", dataset=claim.dataset_id, reason=error.detail)


def _ledger(folder: Path) -> Iterator[str]:
    """Yield the lines of the ledger; there is none where the archive itself was refused."""
    path = folder / "ledger.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from lines


@contextmanager
def local_archive(store: ObjectStore, key: str, sha256: str, folder: Path) -> Iterator[Path]:
    """Yield the archive as a local file: the store's own where it is a folder here, else a checked copy."""
    local = store.local_path(key)
    if local is not None:
        yield local
        return
    copy = folder / "archive"
    store.fetch(key, copy, sha256=sha256)
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)

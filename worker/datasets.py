"""Reads datasets: claims one, has it decoded in a process of its own, and stores what came of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core import logs
from core.crash_points import reach
from core.datasets.decoders import Decoders
from core.datasets.ingest import IngestResult
from core.datasets.packs import digest_of
from core.datasets.process import run_ingest
from core.db.engine import transaction
from core.errors import DatasetRejectedError, IntegrityError, LeaseLostError, LenetError
from core.services.ingest import DatasetClaim, accept_dataset, claim_dataset, reject_dataset, renew_dataset
from core.storage import keys
from core.storage.store import ObjectStore, StoredObject
from worker.host import Host
from worker.job_writer import PatientWriter
from worker.lease import Lease
from worker.slots import Slots

_log = logs.get(__name__)


def read_next_dataset(host: Host, decoders: Decoders, slots: Slots) -> bool:
    """Read one dataset that waits; return whether there was one.

    The next one's decoder is started when this one is done, so as to take no processor from it.
    """
    settings, claimed_at = host.settings, time.monotonic()
    with transaction(host.sessions) as session:
        claim = claim_dataset(
            session, worker=host.name, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts
        )
    if claim is None:
        return False
    reach("d.claim_before_beat")
    slots.enter(claim.dataset_id)
    renew = partial(renew_dataset, claim=claim, lease_seconds=settings.lease_seconds)
    try:
        with host.scratch("dataset") as folder, host.hold(renew, claimed_at=claimed_at) as lease:
            writer = PatientWriter(host.sessions, lease, slots.closing)
            Reading(host, claim, lease, writer, folder).run(decoders)
    except LeaseLostError:
        _log.warning("the dataset is no longer ours", dataset=claim.dataset_id, attempt=claim.attempt)
    except LenetError as error:
        _log.error("the dataset could not be read now", dataset=claim.dataset_id, detail=error.detail)
    finally:
        slots.leave(claim.dataset_id)
        decoders.prepare()
    return True


@dataclass
class Reading:
    """One attempt at a dataset, from its claim to its end; a service that is away meanwhile is waited for."""

    host: Host
    claim: DatasetClaim
    lease: Lease
    writer: PatientWriter
    folder: Path

    def run(self, decoders: Decoders) -> None:
        """Read the archive and record what came of it; raises `LeaseLostError` where it is no longer held."""
        claim = self.claim
        try:
            archive = self.writer.insist(
                lambda: local_archive(self.host.store, claim.archive_key, claim.sha256, self.folder)
            )
            result = run_ingest(
                archive,
                self.folder,
                settings=self.host.settings,
                on_progress=lambda _: self.lease.check(),
                decoders=decoders,
            )
        except DatasetRejectedError as error:
            self._reject(error)
        else:
            self._accept(result)

    def _accept(self, result: IngestResult) -> None:
        claim, manifest = self.claim, result.manifest
        pack_key = keys.pack(
            claim.tenant_id,
            claim.dataset_id,
            image_size=result.image_size,
            color_mode=manifest.color_mode,
            digest=result.digest,
        )
        preview_key = keys.dataset_preview(claim.tenant_id, claim.dataset_id)
        pack = self._store(pack_key, "pack")
        self._store(preview_key, "preview.png")
        reach("d.put_before_commit")
        self.writer.write(
            lambda session: accept_dataset(
                session,
                claim,
                manifest=manifest,
                ledger=_ledger(self.folder),
                pack=pack,
                image_size=result.image_size,
                preview_key=preview_key,
            )
        )
        _log.info("dataset ready", dataset=claim.dataset_id, images=manifest.images.total)

    def _store(self, key: str, file: str) -> StoredObject:
        return self.writer.insist(lambda: self.host.store.put_file(key, self.folder / file))

    def _reject(self, error: DatasetRejectedError) -> None:
        claim = self.claim
        self.writer.write(lambda session: reject_dataset(session, claim, error, ledger=_ledger(self.folder)))
        self._discard()
        _log.info("dataset rejected", dataset=claim.dataset_id, detail=error.detail)

    def _discard(self) -> None:
        """Delete an archive that was rejected; where the store is in trouble, it is left to the collection."""
        try:
            self.host.store.delete(self.claim.archive_key)
        except LenetError as error:
            _log.warning("a rejected archive stays behind", dataset=self.claim.dataset_id, reason=error.detail)


def _ledger(folder: Path) -> Iterator[str]:
    """Yield the lines of the ledger; there is none where the archive itself was refused."""
    path = folder / "ledger.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from lines


def local_archive(store: ObjectStore, key: str, sha256: str, folder: Path) -> Path:
    """Return the archive as a local file, compared with its hash: the store's own where it is a folder, else a copy.

    Raises:
        IntegrityError: The store has other bytes than were uploaded.
    """
    if (local := store.local_path(key)) is None:
        copy = folder / "archive"
        store.fetch(key, copy, sha256=sha256)
        return copy
    if digest_of(local) != sha256:
        raise IntegrityError("The stored archive is not the one that was uploaded.")
    return local

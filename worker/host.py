"""What a worker works with: settings, database, store, cache and names, built once in `worker.wiring`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from sqlalchemy.orm import Session

from core.datasets.cache import PackCache
from core.db.engine import Sessions, transaction
from core.domain.engines import ENGINES, EngineName
from core.services.messages import Sender
from core.settings import Settings
from core.storage.store import ObjectStore
from worker.lease import Lease

Role = Literal["train", "ingest"]


@dataclass(frozen=True)
class Host:
    """The ports of one worker process.

    Attributes:
        sessions: Of the database, for what work needs.
        heartbeats: Of the database too, on connections of their own that are given up soon: nothing else that goes on
            here can keep a lease from being extended.
        device: ``cpu`` or ``cuda``.
        engines: Those installed here.
    """

    settings: Settings
    sessions: Sessions
    heartbeats: Sessions
    store: ObjectStore
    packs: PackCache
    sender: Sender
    name: str
    role: Role
    device: str
    engines: tuple[EngineName, ...] = ENGINES

    def hold(self, renew: Callable[[Session], object], *, claimed_at: float) -> Lease:
        """Return the lease of a claim that ``renew`` extends, made after ``claimed_at`` by the monotonic clock."""

        def renew_now() -> None:
            with transaction(self.heartbeats) as session:
                renew(session)

        return Lease(
            renew_now,
            lease_seconds=self.settings.lease_seconds,
            heartbeat_seconds=self.settings.heartbeat_seconds,
            claimed_at=claimed_at,
        )

    @contextmanager
    def scratch(self, purpose: str) -> Iterator[Path]:
        """Yield a folder for files of one job, which is gone afterwards."""
        parent = self.settings.cache_dir / "scratch" / self.name
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{purpose}-", dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

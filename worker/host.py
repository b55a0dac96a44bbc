"""What a worker works with: settings, database, store, cache and names, built once in `worker.wiring`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from core.datasets.cache import PackCache
from core.db.engine import Sessions
from core.domain.engines import ENGINES, EngineName
from core.services.messages import Sender
from core.settings import Settings
from core.storage.store import ObjectStore

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

    @contextmanager
    def scratch(self, purpose: str) -> Iterator[Path]:
        """Yield a folder for files of one job, which is gone afterwards."""
        parent = self.settings.cache_dir / "scratch" / self.name
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{purpose}-", dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

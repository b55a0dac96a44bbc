"""The platform from Python.

::

    from client.sdk import Client

    with Client() as client:
        dataset = client.datasets.wait(client.datasets.upload("digits.zip").id)
        job = client.jobs.wait(client.jobs.submit(dataset.id, {"epochs": 10}).id)
        print(client.jobs.report(job.id).accuracy)
        client.jobs.download(job.id, "model.pth", "model.pth")
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from client.answers import PAGE_ITEMS, follow, parse, parse_items
from client.datasets import Datasets
from client.ensembles import Ensembles
from client.errors import InputError
from client.evaluations import Evaluations
from client.jobs import Jobs
from client.keys import Keys
from client.registry import Models
from client.tenants import Tenants
from client.transport import Call, Transport, is_loopback
from client.types import Architecture, AuditEvent, Page, Preset, Queue, TenantQuota, Worker


class Client:
    """The platform at a URL.

    Args:
        url: Its address; unset: ``LENET_URL``, else this machine at ``LENET_API_PORT`` or 8000.
        key: The API key; unset: ``LENET_API_KEY``, else, for a platform on this machine, the file ``api-key`` in the
            folder that ``LENET_DATA_DIR`` names, or in ``data``.
        transport: What carries the requests in place of a connection of its own.

    Raises:
        InputError: The URL or the key cannot be used.
    """

    def __init__(self, url: str | None = None, key: str | None = None, *, transport: Transport | None = None) -> None:
        if transport is None:
            url = url or find_url()
            transport = Transport(url, key or find_key(url))
        self._transport = transport
        self.datasets = Datasets(transport)
        self.jobs = Jobs(transport)
        self.keys = Keys(transport)
        self.tenants = Tenants(transport)
        self.ensembles = Ensembles(transport)
        self.evaluations = Evaluations(transport)
        self.models = Models(transport)

    @property
    def url(self) -> str:
        """The platform's address."""
        return self._transport.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def is_ready(self) -> bool:
        """Return whether the platform and all behind it (database, queue, store) answer."""
        return self._transport.is_ready()

    def workers(self) -> list[Worker]:
        """Return the hosts that train, with their slots and busy jobs."""
        return parse_items(Worker, self._transport.fetch(Call("GET", "/workers")))

    def queue(self) -> list[Queue]:
        """Return the depth and the oldest wait of each queue."""
        return parse_items(Queue, self._transport.fetch(Call("GET", "/queue")))

    def presets(self) -> list[Preset]:
        """Return the recipes that a config can name."""
        return parse_items(Preset, self._transport.fetch(Call("GET", "/presets")))

    def architectures(self) -> list[Architecture]:
        """Return the networks that a config can name."""
        return parse_items(Architecture, self._transport.fetch(Call("GET", "/architectures")))

    def quota(self) -> TenantQuota:
        """Return what one may use, and does."""
        return parse(TenantQuota, self._transport.fetch(Call("GET", "/quota")))

    def audit(self, **wanted: str | datetime | None) -> Iterator[AuditEvent]:
        """Yield who did what to which resource, newest first; for administrators.

        Args:
            wanted: Which events: ``tenant_id``, ``key_id``, ``action``, ``resource_id``, ``request_id``, ``outcome``
                (``done`` or ``refused``), ``since`` and ``until`` (aware moments).
        """
        params = {name: word.isoformat() if isinstance(word, datetime) else word for name, word in wanted.items()}

        def page(cursor: str | None) -> Page[AuditEvent]:
            call = Call("GET", "/audit", params={**params, "limit": PAGE_ITEMS, "cursor": cursor})
            return parse(Page[AuditEvent], self._transport.fetch(call))

        return follow(page)


def find_url() -> str:
    """Return the platform's address from the environment: ``LENET_URL``, else this machine."""
    return os.environ.get("LENET_URL") or f"http://127.0.0.1:{os.environ.get('LENET_API_PORT') or 8000}"


def find_key(url: str) -> str | None:
    """Return the API key: ``LENET_API_KEY``, else the one that the embedded start wrote.

    That file is this machine's: its key is sent to no other.
    """
    if key := os.environ.get("LENET_API_KEY"):
        return key
    file = Path(os.environ.get("LENET_DATA_DIR") or "data") / "api-key"
    if not is_loopback(url) or not file.is_file():
        return None
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}. Set LENET_API_KEY.") from error

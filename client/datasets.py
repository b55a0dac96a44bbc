"""Datasets: uploaded archives and what ingest makes of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from client.answers import PAGE_ITEMS, follow, parse, poll, to_segment
from client.archives import open_archive
from client.errors import DatasetRejectedError
from client.transport import Body, Call, OnProgress, Part, Transport
from client.types import Dataset, Entry, Page

# After the last byte of a large archive the platform still has to store it before it answers.
UPLOAD_TIMEOUT_SECONDS = 900.0


class Datasets:
    """Datasets: uploaded archives and what ingest makes of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, path: str | Path, name: str | None = None, *, on_progress: OnProgress | None = None) -> Dataset:
        """Upload an archive, or a folder of class folders, with memory that stays flat.

        Args:
            path: A ``.zip``, ``.tar`` or ``.tar.gz``, or a folder; a folder is packed into a temporary ZIP.
            name: The dataset's name; unset: the file's.
            on_progress: Called with (sent, total) bytes after each piece of a ZIP.

        Returns:
            The dataset, most often still ``processing``; the one that is there, where the same bytes were uploaded
            before.

        Raises:
            InputError: ``path`` cannot be read.
        """
        with open_archive(Path(path)) as archive:
            body = Body(archive.file, archive.size_bytes, "application/zip", on_progress) if archive.is_zip else None
            call = Call(
                "POST",
                "/datasets",
                params={"name": name or archive.name},
                body=body,
                parts=() if body else [Part("file", archive.name, archive.file)],
                creates=True,
                timeout_seconds=UPLOAD_TIMEOUT_SECONDS,
            )
            return parse(Dataset, self._transport.fetch(call))

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Dataset]:
        """Return one page of datasets, newest first; ``limit`` is 1-200."""
        params = {"limit": limit, "cursor": cursor}
        return parse(Page[Dataset], self._transport.fetch(Call("GET", "/datasets", params=params)))

    def iterate(self) -> Iterator[Dataset]:
        """Yield every dataset, newest first."""
        return follow(lambda cursor: self.list(limit=PAGE_ITEMS, cursor=cursor))

    def get(self, dataset_id: str) -> Dataset:
        """Return a dataset."""
        return parse(Dataset, self._transport.fetch(Call("GET", f"/datasets/{to_segment(dataset_id)}")))

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset; `ConflictError` while a job that has not ended uses it."""
        self._transport.fetch(Call("DELETE", f"/datasets/{to_segment(dataset_id)}"))

    def wait(
        self,
        dataset_id: str,
        *,
        on_update: Callable[[Dataset], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Dataset:
        """Wait until a dataset is ready and return it.

        Raises:
            DatasetRejectedError: It cannot be trained on; the error lists every reason.
            WaitTimeoutError: It was still in work after ``timeout_seconds``.
        """
        dataset = poll(
            lambda: self.get(dataset_id),
            lambda seen: seen.status in {"ready", "rejected"},
            on_update=on_update,
            timeout_seconds=timeout_seconds,
            sleep=self._transport.sleep,
        )
        if dataset.status == "rejected":
            raise DatasetRejectedError(dataset)
        return dataset

    def entries(self, dataset_id: str, outcome: str | None = None) -> Iterator[Entry]:
        """Yield what became of each entry of the archive; ``outcome`` is accepted, rejected or ignored."""
        path = f"/datasets/{to_segment(dataset_id)}/entries"

        def page(cursor: str | None) -> Page[Entry]:
            params = {"outcome": outcome, "limit": PAGE_ITEMS, "cursor": cursor}
            return parse(Page[Entry], self._transport.fetch(Call("GET", path, params=params)))

        return follow(page)

    def preview(self, dataset_id: str) -> bytes:
        """Return a PNG with some images of each class."""
        return self._transport.fetch_bytes(Call("GET", f"/datasets/{to_segment(dataset_id)}/preview"))

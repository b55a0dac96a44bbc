"""Offering archives to the platform: what becomes of each, and what it leaves."""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from chaos.processes import until
from forgery.pictures import draw
from forgery.zips import Entry, ZipWriter
from security.estate import Estate
from security.visitors import Visitor

GOOD = {
    f"train/{name}/{number}.png": draw(seed + number) for name, seed in (("a", 0), ("b", 50)) for number in range(4)
}
_WAIT_SECONDS = 120.0


def pack(files: Mapping[str, bytes] | Iterable[Entry] = (), **fields: Any) -> bytes:
    """Return a ZIP of files, or of entries that may lie; ``fields`` are the writer's."""
    entries = [Entry(name, content) for name, content in files.items()] if isinstance(files, Mapping) else list(files)
    return ZipWriter(entries, **fields).write()


def with_good(*entries: Entry, **fields: Any) -> bytes:
    """Return a ZIP that would be a dataset but for some entries more."""
    return pack([*(Entry(name, content) for name, content in GOOD.items()), *entries], **fields)


@dataclass(frozen=True)
class Verdict:
    """What became of an archive."""

    dataset: Mapping[str, Any]

    @property
    def is_rejected(self) -> bool:
        """Claim that it is no dataset."""
        return self.dataset["status"] == "rejected"

    @property
    def reasons(self) -> str:
        """Return every reason, each with the entry concerned."""
        error = self.dataset["error"] or {"detail": "", "errors": []}
        faults = (f"{fault['pointer']}: {fault['detail']}" for fault in error["errors"])
        return " | ".join([error["detail"], *faults])


class Offers:
    """Uploads of one visitor. At the end of the block every dataset of it is deleted again."""

    def __init__(self, estate: Estate, visitor: Visitor) -> None:
        self._estate, self._visitor = estate, visitor
        self._ids: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for dataset_id in dict.fromkeys(self._ids):
            assert self._visitor.call("DELETE", f"/datasets/{dataset_id}").status_code == 204

    def judge(self, archive: bytes, **request: Any) -> Verdict:
        """Upload an archive and return what became of it."""
        return self.judge_all({"it": archive}, **request)["it"]

    def judge_all(self, archives: Mapping[str, bytes], **request: Any) -> dict[str, Verdict]:
        """Upload archives, then wait for all; a rejected one must have left nothing but its record."""
        sent = {name: self._upload(content, **request) for name, content in archives.items()}
        verdicts = {name: Verdict(self._await(dataset_id)) for name, dataset_id in sent.items()}
        for verdict in verdicts.values():
            if verdict.is_rejected:
                self._check_nothing_is_left(verdict.dataset["id"])
        return verdicts

    def _upload(self, content: bytes, **request: Any) -> str:
        headers = {"Content-Type": "application/zip"}
        answer = self._visitor.call("POST", "/datasets", content=content, headers=headers, **request)
        assert answer.status_code == 202, answer.text
        self._ids.append(answer.json()["id"])
        return self._ids[-1]

    def _await(self, dataset_id: str) -> Mapping[str, Any]:
        path = f"/datasets/{dataset_id}"
        until(lambda: self._visitor.get(path)["status"] != "processing", f"{dataset_id} is read", _WAIT_SECONDS)
        return self._visitor.get(path)

    def _check_nothing_is_left(self, dataset_id: str) -> None:
        fortress = self._estate.fortress
        until(lambda: not list(fortress.objects.glob(f"**/{dataset_id}/**/*")), "the rejected archive is deleted", 10)
        with fortress.engine.connect() as connection:
            packs = connection.exec_driver_sql("SELECT count(*) FROM packs WHERE dataset_id = ?", (dataset_id,))
            assert packs.scalar_one() == 0
        assert self._visitor.call("GET", f"/datasets/{dataset_id}/archive").status_code == 409
        # The verdict is there before its worker has cleaned up; nothing may stay for good.
        scratch = fortress.folder / "data" / "cache" / "scratch"
        until(lambda: measure(scratch) == 0, "the files of the work are deleted", 10)


def measure(folder: Path) -> int:
    """Return the bytes on the disk of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


class DiskMeter:
    """Looks all the time at how much a folder holds; ``most_bytes`` is the most that was seen."""

    def __init__(self, folder: Path) -> None:
        self.most_bytes = 0
        self.looks = 0
        self._folder = folder
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.is_set():
            self.most_bytes = max(self.most_bytes, measure(self._folder))
            self.looks += 1
            time.sleep(0.01)

"""The platform that is attacked: who lives on it, what they own, and what must be as it was when an attack is over."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
from chaos.platform import Platform, _picture
from chaos.processes import Process, until
from chaos.squares import JOB
from free_ports import find_free_port
from security import footprint
from security.footprint import Footprint
from security.visitors import Visitor

from core.settings import ENVIRONMENT_PREFIX

MEBIBYTE = 2**20
MEMORY_BYTES = 50 * MEBIBYTE
HEALTHY_SECONDS = 1.0
SETTLE_SECONDS = 15.0
SCOPES = ("read", "train", "admin")
TENANTS = ("alice", "bob", "carol")
_EPOCHS = 1000
# So deep that an archive's `../../..` stays within a folder that is watched.
_DEPTH = ("a", "b", "c", "d", "e", "f", "platform")


@dataclass(frozen=True)
class Victim:
    """What tenant A owns: a dataset that is ready, and a job on it that has succeeded."""

    dataset_id: str
    job_id: str


class Fortress(Platform):
    """A platform whose processes find no folder to write to but its own, and whose workers train two jobs at once."""

    def __init__(self, outer: Path, **options: Any) -> None:
        self.outer = outer
        folder = outer.joinpath(*_DEPTH)
        folder.mkdir(parents=True)
        settings = {"WORKER_SLOTS": 2, **options.pop("settings", {})}
        super().__init__(folder, database_url=f"sqlite:///{folder}/lenet.db", settings=settings, **options)
        temporary = folder / "tmp"
        temporary.mkdir()
        self._environment |= {"TMPDIR": str(temporary), "HOME": str(folder)}

    @property
    def root(self) -> str:
        """Return the API's address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def first_key(self) -> str:
        """Return the first administrator's key."""
        return self._key

    @property
    def engine(self):
        """Return the database, to look into behind the API's back."""
        return self._engine

    @property
    def objects(self) -> Path:
        """Return the folder of the store."""
        return self.folder / "data" / footprint.OBJECTS

    def everybody(self) -> list[Process]:
        """Return every process that was started."""
        return list(self._processes)

    @contextmanager
    def another_api(self, **settings: object) -> Iterator[str]:
        """Run a second API on the same database, Redis and store by other settings, and give its address.

        ``settings`` are names without their prefix, in lower case: ``another_api(max_request_bytes=100)``.
        """
        port = find_free_port()
        given = {ENVIRONMENT_PREFIX + name.upper(): str(value) for name, value in settings.items()}
        usual = self._environment
        self._environment = {**usual, **given, ENVIRONMENT_PREFIX + "API_PORT": str(port)}
        try:
            process = self.start_api()
        finally:
            self._environment = usual
        try:
            root = f"http://127.0.0.1:{port}"
            until(lambda: is_healthy(root, seconds=5), "the other API answers")
            yield root
        finally:
            process.terminate()
            process.wait()
            self._processes.remove(process)


class Estate:
    """Everything on one platform that a test may use, and what the watch needs to know."""

    def __init__(self, fortress: Fortress, archive: Path) -> None:
        self.fortress, self.archive = fortress, archive
        self.nobody = Visitor(fortress.root)
        self.first = Visitor(fortress.root, fortress.first_key)
        self.ids, self.keys = {}, {}
        for tenant in TENANTS:
            for scope in SCOPES:
                self._make_key(tenant, scope)
        self._visitors = {who: Visitor(fortress.root, key) for who, key in self.keys.items()}
        self.worker = fortress.start_worker(wait=True)
        self.victim = self._make_victim()
        self.slow_job_id = self._start_slow_job()
        self.slow_tenant_id = self._tenant_of(self.slow_job_id)
        self._warm_up()
        self.memory_bytes = self.api_memory_bytes()
        self.most_memory_bytes = self.memory_bytes

    def visitor(self, tenant: str, scope: str = "train") -> Visitor:
        """Return the client with a tenant's key of that scope: ``alice`` (A), ``bob`` (B) or ``carol`` (the third)."""
        return self._visitors[tenant, scope]

    def close(self) -> None:
        """Close every connection."""
        for visitor in (self.nobody, self.first, *self._visitors.values()):
            visitor.close()

    def footprint(self) -> Footprint:
        """Return what the platform keeps now, but for what the third tenant's job writes."""
        fortress = self.fortress
        return footprint.take(
            fortress.engine,
            objects=fortress.objects,
            outer=fortress.outer,
            inner=fortress.folder,
            but=(self.slow_job_id, self.slow_tenant_id),
        )

    def processes(self) -> set[str]:
        """Return the programs that live, and the API's own children."""
        programs = {f"{one.name} {one.pid}" for one in self.fortress.everybody() if one.lives}
        return programs | {f"below the api: {child.pid}" for child in self._api_processes()}

    def api_memory_bytes(self) -> int:
        """Return how much memory the API's processes hold."""
        return sum(process.memory_info().rss for process in self._api_processes())

    def slow_progress(self) -> tuple[str, int, int, int]:
        """Return the status, the attempt and how far the third tenant's job is, past every API."""
        with self.fortress.engine.connect() as connection:
            row = connection.exec_driver_sql(
                "SELECT status, attempt, json_extract(progress, '$.epoch'), json_extract(progress, '$.batch') "
                "FROM jobs WHERE id = ?",
                (self.slow_job_id,),
            ).one()
        return row[0], row[1], row[2] or 0, row[3] or 0

    def _api_processes(self) -> list[psutil.Process]:
        """Return those that answer; what decodes pictures for them comes and goes, and is bounded by itself."""
        return [child for child in self.fortress.api.children() if not _decodes(child)]

    def _make_key(self, tenant: str, scope: str) -> None:
        wanted = {"name": f"{tenant} {scope}", "scopes": [scope], "tenant": tenant}
        made = self.first.call("POST", "/keys", json=wanted)
        assert made.status_code == 201, made.text
        self.keys[tenant, scope], self.ids[tenant, scope] = made.json()["secret"], made.json()["id"]

    def upload(self, tenant: str, archive: Path | None = None) -> str:
        """Upload an archive (the small one) for a tenant, wait until it is ready and return the dataset's id."""
        visitor = self.visitor(tenant)
        content = (archive or self.archive).read_bytes()
        sent = visitor.call("POST", "/datasets", content=content, headers={"Content-Type": "application/zip"})
        assert sent.status_code in (200, 202), sent.text
        path = f"/datasets/{sent.json()['id']}"
        until(lambda: visitor.get(path)["status"] == "ready", "the dataset is ready")
        return sent.json()["id"]

    def submit(self, tenant: str, dataset_id: str, **config: Any) -> str:
        """Queue a job of a tenant, the small one but for ``config``, and return its id."""
        body = {"dataset_id": dataset_id, "config": {**JOB, **config}}
        sent = self.visitor(tenant).call("POST", "/jobs", json=body)
        assert sent.status_code == 202, sent.text
        return sent.json()["id"]

    def wait(self, tenant: str, job_id: str, *statuses: str) -> Mapping[str, Any]:
        """Wait until a tenant's job has one of the statuses, and return it."""
        visitor = self.visitor(tenant)
        until(lambda: visitor.get(f"/jobs/{job_id}")["status"] in statuses, f"{job_id} is {' or '.join(statuses)}")
        return visitor.get(f"/jobs/{job_id}")

    def _make_victim(self) -> Victim:
        dataset_id = self.upload("alice")
        job_id = self.submit("alice", dataset_id, epochs=1)
        ended = self.wait("alice", job_id, "succeeded", "failed")
        assert ended["status"] == "succeeded", (ended, self.fortress.logs())
        return Victim(dataset_id, job_id)

    def _start_slow_job(self) -> str:
        job_id = self.submit("carol", self.upload("carol"), epochs=_EPOCHS, batch_size=8)
        until(lambda: self.visitor("carol").get(f"/jobs/{job_id}/epochs")["items"], "the slow job has an epoch")
        return job_id

    def _tenant_of(self, job_id: str) -> str:
        with self.fortress.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT tenant_id FROM jobs WHERE id = ?", (job_id,)).scalar_one()

    def _warm_up(self) -> None:
        """Have the API do each kind of work once or more: what it loads for that is no leak."""
        for _ in range(20):
            files = {"image": ("one.png", make_picture(), "image/png")}
            answer = self.visitor("alice").call("POST", f"/jobs/{self.victim.job_id}/predict", files=files)
            assert answer.status_code == 200, answer.text
        for path in ("/docs", "/openapi.json", "/readyz", "/metrics"):
            self.nobody.ask("GET", path)


def is_healthy(root: str, *, seconds: float = HEALTHY_SECONDS) -> bool:
    """Return whether the API says within so many seconds that it is up."""
    began = time.monotonic()
    try:
        answer = httpx2.get(f"{root}/healthz", timeout=seconds, trust_env=False)
    except httpx2.TransportError:
        return False
    return answer.status_code == 200 and time.monotonic() - began <= seconds


def _decodes(process: psutil.Process) -> bool:
    try:
        return "core.inference.decoder" in process.cmdline()
    except psutil.Error:  # it has just ended, as none that answers does
        return True


def make_picture() -> bytes:
    """Return a PNG of one grey square, 28 pixels wide, that any model here predicts."""
    return _picture()

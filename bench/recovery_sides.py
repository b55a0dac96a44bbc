"""The sides of the recovery benchmark: how each queue is started on two hosts, and how its job is sent."""

import os
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.hosts import Host, python, running_hosts
from bench.mnist import make_archive
from bench.platform import LENET5, BenchError
from bench.pool import ALL_RIGHTS, open_pool
from bench.postgres import fresh_database
from bench.steps import COUNT_VARIABLE, FILE_VARIABLE, SECONDS_VARIABLE, Slowness, Step, read_steps
from embedded import ports, redis_server
from embedded.processes import Program

_HOSTS = 2
_APPS = "bench.peers.queues"
_IMAGES = 200


@dataclass(frozen=True)
class Work:
    """The job that every side gets: so many steps of so many seconds."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class Deployment:
    """A queue that runs: its hosts, how to send the job, and what the job has written down so far."""

    hosts: list[Host]
    send: Callable[[], None]
    steps: Callable[[], list[Step]]

    def find_host(self, pid: int) -> Host:
        """Return the host on which a process runs; raises `BenchError` where it is on none."""
        found = next((host for host in self.hosts if host.runs(pid)), None)
        if found is None:
            raise BenchError(f"process {pid} runs on no host")
        return found


@dataclass(frozen=True)
class Side:
    """One queue: its name, and what starts it for the job."""

    name: str
    open: Callable[[Work], AbstractContextManager[Deployment]]


def list_sides(server: str, packages: Path) -> list[Side]:
    """Return every side, those that take longest first.

    Args:
        server: The URL of a PostgreSQL server's administrator.
        packages: The folder of the peers' packages.
    """
    celery = ("-m", "celery", "-A", f"{_APPS}.celery_app", "worker", "--concurrency", "2", "--loglevel", "warning")
    dramatiq = ("-m", "dramatiq", f"{_APPS}.dramatiq_app", "--processes", "2", "--threads", "1")
    procrastinate = ("-m", "procrastinate", "--app", f"{_APPS}.procrastinate_app.app", "worker", "--concurrency", "2")
    # RQ's command as a call: its program for the shell would need the folder's own first line.
    rq = ("-c", "import os; from rq.cli import main; main(['worker', '--url', os.environ['BENCH_REDIS_URL']])")
    peers = _Peers(server, packages)
    return [
        Side("Celery, acks_late, default visibility of 1 h", peers.on_redis("celery", celery)),
        Side("RQ", peers.on_redis("rq", rq)),
        Side("Procrastinate", peers.on_postgres("procrastinate", procrastinate)),
        Side("Dramatiq", peers.on_redis("dramatiq", dramatiq)),
        Side("Celery, acks_late, visibility of 60 s", peers.on_redis("celery", celery, visibility_seconds=60)),
        Side("this platform", lambda work: _open_ours(server, work)),
    ]


@dataclass(frozen=True)
class _Peers:
    server: str
    packages: Path

    def on_redis(
        self, queue: str, worker: tuple[str, ...], *, visibility_seconds: int | None = None
    ) -> Callable[[Work], AbstractContextManager[Deployment]]:
        """Return what opens a queue that stands on a Redis of its own."""

        @contextmanager
        def opened(work: Work) -> Iterator[Deployment]:
            with _folder() as folder:
                port, password = ports.reserve_port("127.0.0.1", 0), secrets.token_urlsafe(24)
                url = redis_server.url_of(port, password)
                chosen = {} if visibility_seconds is None else {"BENCH_VISIBILITY_SECONDS": str(visibility_seconds)}
                variables = {**self._variables(folder, work), "BENCH_REDIS_URL": url, **chosen}
                redis = redis_server.make_program(
                    folder / "redis", folder / "redis.log", variables, port=port, password=password, rights=ALL_RIGHTS
                )
                with running_hosts([redis, *_workers(folder, worker, variables)]) as hosts:
                    yield _deployment(hosts[1:], queue, variables)

        return opened

    def on_postgres(self, queue: str, worker: tuple[str, ...]) -> Callable[[Work], AbstractContextManager[Deployment]]:
        """Return what opens a queue that stands on a database of its own."""

        @contextmanager
        def opened(work: Work) -> Iterator[Deployment]:
            with _folder() as folder, fresh_database(self.server) as url:
                variables = {**self._variables(folder, work), "BENCH_DATABASE_URL": url}
                _send(f"{queue}-tables", variables)
                with running_hosts(_workers(folder, worker, variables)) as hosts:
                    yield _deployment(hosts, queue, variables)

        return opened

    def _variables(self, folder: Path, work: Work) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": f"{self.packages}{os.pathsep}{Path.cwd()}",
            FILE_VARIABLE: str(folder / "steps"),
            COUNT_VARIABLE: str(work.steps),
            SECONDS_VARIABLE: str(work.seconds),
        }


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _workers(folder: Path, worker: tuple[str, ...], variables: dict[str, str]) -> list[Program]:
    names = [f"host-{number}" for number in range(_HOSTS)]
    return [Program(name, python(*worker), folder / f"{name}.log", variables, grace_seconds=5.0) for name in names]


def _deployment(hosts: list[Host], queue: str, variables: dict[str, str]) -> Deployment:
    return Deployment(
        hosts=hosts,
        send=lambda: _send(queue, variables),
        steps=lambda: read_steps(Path(variables[FILE_VARIABLE])),
    )


def _send(word: str, variables: dict[str, str]) -> None:
    subprocess.run(python("-m", f"{_APPS}.send", word), check=True, env=variables)


@contextmanager
def _open_ours(server: str, work: Work) -> Iterator[Deployment]:
    """Open the platform; a step is an epoch, which ends with a checkpoint."""
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        database = stack.enter_context(fresh_database(server))
        slowness = Slowness("epoch", work.seconds)
        pool = stack.enter_context(open_pool(hosts=_HOSTS, slowness=slowness, database_url=database))
        dataset = pool.platform.upload(make_archive(folder / "mnist.zip", limit=_IMAGES))
        config = {**LENET5, "batch_size": 256, "epochs": work.steps, "early_stopping": None}

        def send() -> None:
            pool.platform.client.jobs.submit(dataset.id, config)

        yield Deployment(hosts=pool.hosts, send=send, steps=pool.all_steps)

"""The platform as several processes that can be killed one by one: every program that ``embedded`` starts, and hosts.

Redis, API, scheduler and the ingest worker, which sweeps, run from the beginning. Each host is a worker that trains in
slots of its own with a folder of its own, is slow and writes down its steps (`bench.slow_trainer`). Settings are the
defaults, so that leases and sweeps are those of production, but for what the benchmark names.
"""

import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hosts import Host, python, running_hosts
from bench.platform import BenchError, Platform
from bench.steps import Slowness, Step, read_steps
from client.sdk import Client
from core.settings import ENVIRONMENT_PREFIX, Settings
from embedded import ports, redis_server
from embedded.processes import Program
from embedded.wiring import environment, logs_folder, prepare_database, present_environment, stages

AS_IT_IS = Slowness("epoch", 0.0)
ALL_RIGHTS = "~* &* +@all"
"""Those of a Redis that other queues use: each has commands and keys of its own."""
# The migrations' library works on one database at a time in a process.
_migrating = threading.Lock()
_START_SECONDS = 120.0
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Pool:
    """A platform, and the hosts that train for it.

    Attributes:
        platform: What answers.
        hosts: The machines that train.
        folder: Where everything is.
        environment: That of the platform's programs: where database, store and Redis are.
    """

    platform: Platform
    hosts: list[Host]
    folder: Path
    environment: Mapping[str, str]

    def steps(self, host: Host) -> list[Step]:
        """Return the steps that were done on a host."""
        return read_steps(_steps_file(self.folder, host.name))

    def all_steps(self) -> list[Step]:
        """Return the steps that were done anywhere, in their order in time."""
        return sorted((step for host in self.hosts for step in self.steps(host)), key=lambda step: step.at)

    def find_host(self, pid: int) -> Host | None:
        """Return the host that a process runs on now."""
        return next((host for host in self.hosts if host.runs(pid)), None)


@contextmanager
def open_pool(
    *, hosts: int, slowness: Slowness = AS_IT_IS, redis_rights: str = redis_server.RIGHTS, **settings: str | int
) -> Iterator[Pool]:
    """Start a platform with ``hosts`` hosts, wait until all are there, and stop it at the end.

    Args:
        hosts: How many.
        slowness: How slow their trainers are; by default not at all.
        redis_rights: What its Redis allows; by default what a platform is given.
        settings: Settings that are not the defaults, by their variables without the prefix, in lower case.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        key, chosen = secrets.token_urlsafe(24), _settle(folder, settings)
        with _migrating:
            prepare_database(Settings(**(chosen.model_dump() | {"api_key": key})))
        url = ports.url_of(chosen.api_host, chosen.api_port)
        common = _programs(chosen, redis_rights)
        trainers = [_trainer(folder, common[1], f"host-{number}", slowness) for number in range(hosts)]
        with running_hosts([*common, *trainers]) as running, Client(url, key) as client:
            platform = Platform(url, key, client, chosen.data_dir)
            _await(platform, hosts)
            yield Pool(platform, running[len(common) :], folder, common[1].environment)


def _settle(folder: Path, settings: dict[str, str | int]) -> Settings:
    """Return the settings: what the benchmark names, ports and folders of our own, and nobody's environment."""
    own = {"data_dir": folder / "data", "api_port": ports.reserve_port("127.0.0.1", 0), "worker_device": "cpu"}
    chosen = Settings(**{**own, **settings})  # type: ignore[arg-type]  # pydantic checks and turns them
    chosen.data_dir.mkdir(parents=True)
    return chosen


def _programs(settings: Settings, redis_rights: str) -> list[Program]:
    """Return Redis and the programs that stand on it, but for the worker that trains."""
    port, password = ports.reserve_port("127.0.0.1", 0), secrets.token_urlsafe(24)
    said = {f"{ENVIRONMENT_PREFIX}{name.upper()}": _plain(settings, name) for name in settings.model_fields_set}
    kept = {name: value for name, value in present_environment().items() if not name.startswith(ENVIRONMENT_PREFIX)}
    variables = environment(settings, {**kept, **said}, redis_url=redis_server.url_of(port, password))
    log = logs_folder(settings) / "redis.log"
    redis = redis_server.make_program(
        settings.data_dir / "redis", log, variables, port=port, password=password, rights=redis_rights
    )
    rest = [program for stage in stages(settings, variables) for program in stage if program.name != "worker-train"]
    return [redis, *rest]


def _plain(settings: Settings, name: str) -> str:
    value: Any = getattr(settings, name)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)


def _trainer(folder: Path, like: Program, name: str, slowness: Slowness) -> Program:
    """Return a host's worker; its packs and scratch files are its own, all else is as for the program ``like``."""
    own = folder / name
    own.mkdir()
    variables = {
        **like.environment,
        f"{ENVIRONMENT_PREFIX}DATA_DIR": str(own),
        **slowness.variables(_steps_file(folder, name)),
    }
    command = python("-m", "bench.slow_worker")
    return Program(name, command, like.log.with_name(f"{name}.log"), variables, grace_seconds=_GRACE_SECONDS)


def _steps_file(folder: Path, host: str) -> Path:
    return folder / f"{host}.steps"


def _await(platform: Platform, hosts: int) -> None:
    """Wait until the API is ready and every host has registered."""
    deadline = time.monotonic() + _START_SECONDS
    while not platform.client.is_ready() or _count_trainers(platform) < hosts:
        if time.monotonic() > deadline:
            raise BenchError("the platform did not start")
        time.sleep(0.2)


def _count_trainers(platform: Platform) -> int:
    return sum(worker.role == "train" for worker in platform.client.workers())

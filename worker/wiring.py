"""Builds a worker from the settings."""

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from celery import Celery
from redis import Redis

from core import logs
from core.datasets.cache import PackCache, hold_lock
from core.datasets.decoders import Decoders
from core.db.engine import PATIENCE_SECONDS, QUICK_SECONDS, open_sessions
from core.db.wiring import open_database
from core.domain import tasks
from core.domain.engines import ENGINES, EngineName
from core.domain.placement import choose_queue
from core.errors import InvalidError
from core.settings import ENVIRONMENT_PREFIX, Settings
from core.storage.wiring import open_store
from worker.celery_app import create_celery
from worker.datasets import read_next_dataset
from worker.evaluations import evaluate_next
from worker.gpus import find_driver, why_no_gpu
from worker.host import Host, Role
from worker.jobs import run_next_job
from worker.presence import Presence
from worker.sender import CelerySender
from worker.slots import Slots
from worker.tasks import register_tasks
from worker.trainers import ForkedTrainers, SpawnedTrainers, TrainerSource

_log = logs.get(__name__)
_REDIS_SECONDS = 4
_INGEST_SLOTS = 1
_EVALUATE_SLOTS = 1
# The ingest worker sweeps too, beside what fills its slot.
_SWEEP_THREADS = 2
_LOCK = ".lock"


@dataclass(frozen=True)
class Worker:
    """A worker that is built and not yet started; ``processes`` are where those it works with come from."""

    app: Celery
    host: Host
    slots: tuple[Slots, ...]
    presence: Presence
    processes: TrainerSource | Decoders
    queues: tuple[tasks.Queue, ...]
    threads: int


def build_trainer(settings: Settings) -> Worker:
    """Return a worker that trains: one slot for each training at once."""
    engines = find_engines()
    device = find_device(settings, engines)
    trainers = _open_trainers(settings, device)
    app, host = _open_host(settings, "train", device, engines)
    slots = Slots(settings.worker_slots, partial(run_next_job, host, trainers))
    queues = (choose_queue(device, engines),)
    register_tasks(app, host, slots)
    return Worker(app, host, (slots,), Presence(host, slots), trainers, queues, settings.worker_slots)


def build_ingester(settings: Settings) -> Worker:
    """Return a worker that reads datasets, evaluates and sweeps."""
    app, host = _open_host(settings, "ingest", "cpu", ())
    decoders = Decoders()
    decoders.prepare()
    reading = Slots(_INGEST_SLOTS, partial(read_next_dataset, host, decoders))
    evaluating = Slots(_EVALUATE_SLOTS, partial(evaluate_next, host))
    register_tasks(app, host, reading, evaluating=evaluating)
    queues = (tasks.INGEST_QUEUE, tasks.EVALUATE_QUEUE)
    threads = _INGEST_SLOTS + _EVALUATE_SLOTS + _SWEEP_THREADS
    return Worker(app, host, (reading, evaluating), Presence(host, reading, evaluating), decoders, queues, threads)


def find_engines() -> tuple[EngineName, ...]:
    """Return what is installed here to compute trainings with; torch is looked for and not loaded."""
    return ENGINES if find_spec("torch") else ("numpy",)


def find_device(settings: Settings, engines: Collection[EngineName]) -> Literal["cpu", "cuda"]:
    """Return ``cuda`` where the settings say so or there is an NVIDIA driver, and torch can use a GPU, else ``cpu``.

    Raises:
        InvalidError: The settings say ``cuda``, and torch is not installed or cannot use a GPU.
    """
    wanted = settings.worker_device
    if wanted == "cuda" and "torch" not in engines:
        raise InvalidError("The setting worker_device is cuda, which needs torch, and torch is not installed.")
    if wanted == "cpu" or "torch" not in engines or (wanted == "auto" and not find_driver()):
        return "cpu"
    reason = why_no_gpu()
    if reason is None:
        return "cuda"
    if wanted == "cuda":
        raise InvalidError(f"The setting worker_device is cuda, and there is no GPU to use: {reason}.")
    _log.warning("an NVIDIA driver is here and no GPU to use; this worker trains on the processor", reason=reason)
    return "cpu"


def _open_trainers(settings: Settings, device: str) -> TrainerSource:
    """Start what trainers come from, without any credential in its environment."""
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        del os.environ[name]
    set_threads(settings)
    # The fonts' list is kept there: without a folder that can be written it would be made anew for each trainer.
    os.environ["MPLCONFIGDIR"] = str(settings.cache_dir.resolve() / "matplotlib")
    nice = settings.worker_nice
    return SpawnedTrainers(nice=nice) if device == "cuda" else ForkedTrainers(nice=nice)


def set_threads(settings: Settings) -> None:
    """Tell the libraries that multiply matrices, by the environment that they read when they are loaded."""
    # Threads that wait awake for each other's part of a short step make two of them twice as fast; beside another
    # training they take the cores that it computes on.
    if settings.worker_slots > 1:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    # Torch's, then those that NumPy may be built with.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(settings.threads_per_slot)


def _open_host(settings: Settings, role: Role, device: str, engines: tuple[EngineName, ...]) -> tuple[Celery, Host]:
    app = create_celery(settings)
    redis = Redis.from_url(settings.redis, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
    host = Host(
        settings=settings,
        sessions=open_sessions(open_database(settings, patience_seconds=_patience(settings))),
        heartbeats=open_sessions(open_database(settings, patience_seconds=QUICK_SECONDS)),
        store=open_store(settings),
        packs=PackCache(settings.cache_dir / "packs", settings.pack_cache_bytes),
        sender=CelerySender(app, redis),
        name=f"{socket.gethostname()}-{role}-{os.getpid()}-{secrets.token_hex(2)}",
        role=role,
        device=device,
        engines=engines,
    )
    _claim_scratch(settings, host.name)
    return app, host


def _patience(settings: Settings) -> float:
    """Return how long work waits for the database: who waits for it must still notice that the lease ran out."""
    return max(QUICK_SECONDS, min(PATIENCE_SECONDS, settings.lease_seconds / 3))


def _claim_scratch(settings: Settings, name: str) -> None:
    """Take this worker's scratch folder, and remove those of workers that were killed.

    Each holds a lock on a file of its own until its process ends, however that ends: containers may share the folder,
    and each has a host name and process ids of its own, which tell nothing of the others.
    """
    scratch = settings.cache_dir / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    for left in {path.name.removesuffix(_LOCK) for path in scratch.iterdir()}:
        _remove_dead(scratch / left)
    hold_lock(scratch / (name + _LOCK), fcntl.LOCK_EX)


def _remove_dead(folder: Path) -> None:
    file = folder.with_name(folder.name + _LOCK)
    try:
        lock = hold_lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
        file.unlink(missing_ok=True)
    finally:
        os.close(lock)

"""``python -m worker train|ingest|beat``: one process of the pool, in the foreground."""

import argparse
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

from celery import signals

from core import logs
from core.settings import Settings
from worker.celery_app import create_celery

if TYPE_CHECKING:
    from worker.wiring import Worker

# How long a worker that starts waits for the queue before it looks for work without it.
_QUEUE_SECONDS = 5.0
# Celery waits for what a message has begun; what was found in SQL without one has as long to end in good order.
_SETTLE_SECONDS = 30.0
# Celery tells of every message at this level; a message is only a wake-up, and the jobs' own lines say what was done.
_CHATTY = ("celery.app.trace", "celery.beat", "celery.worker.strategy")


def main() -> None:
    """Run the process that the command line names until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m worker", description="One process of the worker pool.")
    parser.add_argument(
        "role",
        choices=("train", "ingest", "beat"),
        help="train: takes jobs. ingest: reads datasets, evaluates and sweeps. beat: sends the sweep; run exactly one.",
    )
    role = parser.parse_args().role
    settings = Settings()
    logs.configure(settings)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if role == "beat":
        _run_beat(settings)
    else:
        _run_worker(_build(role, settings))


def _run_beat(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    create_celery(settings).Beat(
        loglevel=settings.log_level.upper(), schedule=str(settings.data_dir / "beat-schedule"), quiet=True
    ).run()


def _build(role: str, settings: Settings) -> "Worker":
    # What works with data and the database takes most of a start, and of its memory; the scheduler needs none of it.
    from worker.wiring import build_ingester, build_trainer  # noqa: PLC0415

    return build_trainer(settings) if role == "train" else build_ingester(settings)


def _run_worker(worker: "Worker") -> None:
    """Start Celery's consumer; SIGTERM and SIGINT let running jobs write a checkpoint and go back to the queue."""

    def close(**_: Any) -> None:
        for slots in worker.slots:
            slots.closing.set()

    def ready(**_: Any) -> None:
        worker.presence.start()

    signals.worker_shutting_down.connect(close, weak=False)
    signals.worker_ready.connect(ready, weak=False)
    # Where Redis is away Celery waits for it, and jobs are found in SQL meanwhile.
    without_queue = threading.Timer(_QUEUE_SECONDS, worker.presence.start)
    without_queue.daemon = True
    without_queue.start()
    signals.setup_logging.connect(lambda **_: None, weak=False)  # The root logger is set up already.
    worker.app.Worker(
        pool_cls="threads",
        concurrency=worker.threads,
        queues=list(worker.queues),
        hostname=f"{worker.host.role}@{worker.host.name}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
    ).start()
    close()
    for slots in worker.slots:
        slots.settle(_SETTLE_SECONDS)
    worker.presence.leave()
    worker.processes.close()


if __name__ == "__main__":
    main()

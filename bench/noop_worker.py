"""``python -m bench.noop_worker bare|ours``: a Celery worker whose jobs do nothing and say so on a list in Redis.

``bare`` is a task that does nothing. ``ours`` is the platform's: a message wakes a slot, which claims the next job in
SQL and ends it there at once as succeeded, all by the worker's own services; only the training is left out. Both have
the same application, options, pool and broker.
"""

import sys

from celery import Celery
from redis import Redis

from core.datasets.cache import PackCache
from core.db.engine import open_sessions, transaction
from core.db.wiring import open_database
from core.domain.jobs import StopReason
from core.services import claims, results
from core.settings import Settings
from core.storage.wiring import open_store
from worker.celery_app import create_celery
from worker.host import Host
from worker.sender import CelerySender
from worker.slots import Slots
from worker.tasks import register_tasks

BARE_QUEUE, BARE_TASK = "bench-bare", "bench.noop"
DONE, READY = "bench-done", "bench-ready"
_THREADS = 2


def main() -> None:
    settings, kind = Settings(), sys.argv[1]
    app, redis = create_celery(settings), Redis.from_url(settings.redis)
    if kind == "bare":
        app.conf.broker_transport = "redis"  # The platform's own takes no message but its own.
        _register_bare(app, redis)
    else:
        _register_ours(app, redis, settings)
    redis.rpush(READY, kind)
    app.Worker(
        pool_cls="threads",
        concurrency=_THREADS,
        queues=[BARE_QUEUE if kind == "bare" else "cpu"],
        hostname=f"{kind}@bench",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
    ).start()


def _register_bare(app: Celery, redis: Redis) -> None:
    def noop() -> None:
        redis.rpush(DONE, BARE_TASK)

    app.task(name=BARE_TASK)(noop)


def _register_ours(app: Celery, redis: Redis, settings: Settings) -> None:
    sessions = open_sessions(open_database(settings))
    host = Host(
        settings=settings,
        sessions=sessions,
        heartbeats=sessions,
        store=open_store(settings),
        packs=PackCache(settings.cache_dir / "packs", settings.pack_cache_bytes),
        sender=CelerySender(app, redis),
        name="noop",
        role="train",
        device="cpu",
    )

    def run_next(_: Slots) -> bool:
        with transaction(host.sessions) as session:
            claim = claims.claim_job(
                session, worker=host.name, device=host.device, lease_seconds=settings.lease_seconds
            )
        if claim is None:
            return False
        with transaction(host.sessions) as session:
            results.succeed(session, claim, metrics={}, stop_reason=StopReason.EPOCHS_DONE, parameters=0, artifacts=())
        redis.rpush(DONE, claim.job_id)
        return True

    register_tasks(app, host, Slots(_THREADS, run_next))


if __name__ == "__main__":
    main()

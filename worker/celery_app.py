"""The Celery application: options, nothing else."""

import ssl
from datetime import timedelta

from celery import Celery

from core.domain import tasks
from core.settings import Settings
from worker import broker

_SOCKET_SECONDS = 4
_COLLECT_SECONDS = 3600


def create_celery(settings: Settings) -> Celery:
    """Return the application for the settings' Redis.

    Messages are JSON, checked (`worker.broker`), gone from Redis on receipt and never prefetched; results are not kept,
    since SQL holds them; remote control is off.
    """
    app = Celery("lenet", broker=settings.redis)
    app.conf.update(
        broker_transport=broker.NAME,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        task_default_queue=tasks.INGEST_QUEUE,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Where Redis refuses a command, because a queue's key holds something else perhaps, the worker waits.
        broker_channel_error_retry=True,
        broker_transport_options={
            # No copies of what is being done in Redis: it would need locks and scripts there, and SQL knows.
            "ack_emulation": False,
            "socket_timeout": _SOCKET_SECONDS,
            "socket_connect_timeout": _SOCKET_SECONDS,
            "health_check_interval": 10,
            "retry_on_timeout": True,
        },
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if settings.redis.startswith("rediss") else None,
        beat_schedule={
            tasks.SWEEP: {
                "task": tasks.SWEEP,
                "schedule": timedelta(seconds=settings.sweep_seconds),
                "options": {"queue": tasks.INGEST_QUEUE, "expires": settings.sweep_seconds},
            },
            tasks.COLLECT: {
                "task": tasks.COLLECT,
                "schedule": timedelta(seconds=_COLLECT_SECONDS),
                "options": {"queue": tasks.INGEST_QUEUE, "expires": _COLLECT_SECONDS},
            },
        },
    )
    return app

"""The Celery tasks. A message is only a wake-up: what is done next is decided by SQL."""

from celery import Celery

from core import logs
from core.crash_points import reach
from core.domain import tasks
from core.errors import LenetError
from core.services.collection import collect_garbage
from worker.host import Host
from worker.slots import Slots
from worker.sweeping import sweep

_log = logs.get(__name__)


def register_tasks(app: Celery, host: Host, slots: Slots, *, evaluating: Slots | None = None) -> None:
    """Register the tasks of the host's role; ``evaluating`` are the slots of evaluations, beside those of datasets."""
    if host.role == "train":
        _register_fill(app, tasks.TRAIN, slots)
    else:
        _register_fill(app, tasks.INGEST, slots)
        if evaluating is not None:
            _register_fill(app, tasks.EVALUATE, evaluating)
        _register_upkeep(app, host)


def _register_fill(app: Celery, name: str, slots: Slots) -> None:
    def fill(resource_id: str) -> None:  # noqa: ARG001 - the message's body; the next row is whichever SQL says
        reach("w.receive_before_claim")
        try:
            slots.fill()
        except LenetError as error:
            _log.warning("the wake-up led to nothing", detail=error.detail)

    app.task(name=name)(fill)


def _register_upkeep(app: Celery, host: Host) -> None:
    def sweep_once() -> None:
        try:
            sweep(host)
        except LenetError as error:
            _log.warning("the sweep will be tried again", detail=error.detail)

    def collect() -> None:
        try:
            collected = collect_garbage(host.sessions, host.store, age_seconds=host.settings.garbage_seconds)
            _log.info("garbage collected", objects=collected)
        except LenetError as error:
            _log.warning("the collection will be tried again", detail=error.detail)

    app.task(name=tasks.SWEEP)(sweep_once)
    app.task(name=tasks.COLLECT)(collect)

"""The Celery tasks. A message is only a wake-up: what is done next is decided by SQL."""

from celery import Celery

from core import logs
from core.domain import tasks
from core.errors import LenetError
from worker.host import Host
from worker.slots import Slots
from worker.sweeping import sweep

_log = logs.get(__name__)


def register_tasks(app: Celery, host: Host, slots: Slots) -> None:
    """Register the tasks of the host's role."""
    if host.role == "train":
        _register_fill(app, tasks.TRAIN, slots)
    else:
        _register_fill(app, tasks.INGEST, slots)
        _register_sweep(app, host)


def _register_fill(app: Celery, name: str, slots: Slots) -> None:
    def fill(resource_id: str) -> None:  # noqa: ARG001 - the message's body; the next row is whichever SQL says
        try:
            slots.fill()
        except LenetError as error:
            _log.warning("the wake-up led to nothing", detail=error.detail)

    app.task(name=name)(fill)


def _register_sweep(app: Celery, host: Host) -> None:
    def sweep_once() -> None:
        try:
            sweep(host)
        except LenetError as error:
            _log.warning("the sweep will be tried again", detail=error.detail)

    app.task(name=tasks.SWEEP)(sweep_once)

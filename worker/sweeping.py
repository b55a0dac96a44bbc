"""One sweep: what lost workers held goes back, and what waits without a message is announced."""

from core import logs
from core.crash_points import reach
from core.db.engine import transaction
from core.services.sweeper import find_unsent, reap_datasets, reap_jobs
from worker.host import Host

_log = logs.get(__name__)


def sweep(host: Host) -> None:
    """Reap, then send the wake-ups that are missing, after the commit; raises `UnavailableError`."""
    with transaction(host.sessions) as session:
        reaped = reap_jobs(session) + reap_datasets(session, max_attempts=host.settings.max_attempts)
    if reaped:
        _log.warning("taken from lost workers", ids=reaped)
    with transaction(host.sessions, read_only=True) as session:
        messages = find_unsent(session, host.sender, limits=host.settings.limits)
    for message in messages:
        reach("sweep.update_before_publish")
        host.sender.send(message)

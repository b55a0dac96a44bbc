"""One sweep: what lost workers held goes back, what waits without a message is announced, ensembles are formed."""

from core import logs
from core.crash_points import reach
from core.db.engine import transaction
from core.services.evaluations import reap_evaluations
from core.services.sweeper import find_unsent, reap_datasets, reap_jobs
from worker.ensembles import form_ensembles, merge_ensembles
from worker.host import Host

_log = logs.get(__name__)


def sweep(host: Host) -> None:
    """Reap, send the wake-ups that are missing, and form ensembles; a queue that is away keeps none from that.

    Raises:
        UnavailableError: Something did not answer; the next sweep goes on.
    """
    try:
        _reap(host)
        _announce(host)
    finally:
        form_ensembles(host)
        if host.role == "ingest":
            merge_ensembles(host)


def _reap(host: Host) -> None:
    with transaction(host.sessions) as session:
        most = host.settings.max_attempts
        reaped = reap_jobs(session) + reap_datasets(session, max_attempts=most)
        reaped += reap_evaluations(session, max_attempts=most)
    if reaped:
        _log.warning("taken from lost workers", ids=reaped)


def _announce(host: Host) -> None:
    """Send what is missing, after the commit."""
    with transaction(host.sessions, read_only=True) as session:
        messages = find_unsent(session, host.sender, limits=host.settings.limits)
    for message in messages:
        reach("sweep.update_before_publish")
        host.sender.send(message)

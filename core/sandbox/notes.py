"""Telling the operator, once, what this machine does not allow."""

import threading
from collections.abc import Mapping

from core import logs

_log = logs.get(__name__)
_lock = threading.Lock()
_told: set[str] = set()


def note_unconfined(purpose: str, missing: Mapping[str, str]) -> None:
    """Log what `core.sandbox.confinement.confine` could not do, once for each purpose and measure.

    Args:
        purpose: What the process is for.
        missing: Each measure with the reason; usually empty.
    """
    for measure, reason in missing.items():
        with _lock:
            is_new = f"{purpose}: {measure}" not in _told
            _told.add(f"{purpose}: {measure}")
        if is_new:
            _log.warning("a process is confined less than it could be", purpose=purpose, lacks=measure, reason=reason)

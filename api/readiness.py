"""Whether the services behind the API answer, asked side by side and bounded in time."""

import threading
import time
from collections.abc import Callable, Mapping

from core import logs
from core.errors import LenetError

OK = "ok"
_LOOK_SECONDS = 1.0
_log = logs.get(__name__)


class Probe:
    """One question to one service. A question that hangs is not asked a second time meanwhile."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self._name = name
        self._ask = ask
        self._asking: threading.Thread | None = None
        self._answer = "It was not asked yet."
        self._lock = threading.Lock()

    def begin(self) -> threading.Thread:
        """Return the thread that asks; the one that still does, where there is one."""
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._asking = threading.Thread(target=self._run, name=f"probe-{self._name}", daemon=True)
                self._asking.start()
            return self._asking

    def end(self, thread: threading.Thread, *, deadline: float) -> str:
        """Return ``ok`` or why not, waiting until ``deadline`` by the monotonic clock."""
        thread.join(max(0.0, deadline - time.monotonic()))
        return "It does not answer in time." if thread.is_alive() else self._answer

    def _run(self) -> None:
        try:
            self._ask()
        except LenetError as error:
            self._answer = error.detail
        except Exception:  # noqa: BLE001 - whatever a driver raises means that the service cannot be used
            _log.exception("a probe failed", service=self._name)
            self._answer = "It cannot be used; the log says why."
        else:
            self._answer = OK


class Probes:
    """The questions that readiness is made of."""

    def __init__(self, questions: Mapping[str, Callable[[], None]], *, timeout_seconds: float = 3.0) -> None:
        self._probes = {name: Probe(name, ask) for name, ask in questions.items()}
        self._timeout_seconds = timeout_seconds

    def ask(self) -> dict[str, str]:
        """Return for each service ``ok`` or why not, after the timeout at most."""
        deadline = time.monotonic() + self._timeout_seconds
        threads = {name: probe.begin() for name, probe in self._probes.items()}
        return {name: probe.end(threads[name], deadline=deadline) for name, probe in self._probes.items()}


def tell_when_ready(probes: Probes) -> threading.Thread:
    """Log what the start waits for, each time that it changes, and once that everything answers.

    Requests are taken meanwhile: those that need what is missing are answered with 503.
    """
    thread = threading.Thread(target=_wait, args=(probes,), name="waiting", daemon=True)
    thread.start()
    return thread


def _wait(probes: Probes) -> None:
    told: dict[str, str] = {}
    while waited_for := {name: state for name, state in probes.ask().items() if state != OK}:
        if waited_for != told:
            _log.warning("waiting for what is not there yet", **waited_for)
        told = waited_for
        time.sleep(_LOOK_SECONDS)
    _log.info("everything behind the API answers")

"""How a trainer's process is ended, whatever it does."""

import signal
import subprocess
from multiprocessing import Pipe

from worker import trainers
from worker.trainers import Trainer


class HeldProcess:
    """A process that nothing ends: the system holds it."""

    exitcode = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def join(self, timeout: float) -> None:
        """It does not end in that time either."""

    def is_alive(self) -> bool:
        return True

    def kill(self) -> None:
        """Nothing comes of it."""

    def close(self) -> None:
        raise ValueError("Cannot close a process while it is still running.")


def test_a_process_that_even_sigkill_does_not_end_is_left_behind(monkeypatch):
    monkeypatch.setattr(trainers, "_JOIN_SECONDS", 0.01)
    ours, theirs = Pipe()
    with subprocess.Popen(["true"], start_new_session=True) as gone:
        gone.wait()
        assert Trainer(HeldProcess(gone.pid), ours).end() == -signal.SIGKILL
    assert ours.closed
    theirs.close()

"""The embedded platform as a process of its own, for as long as the demo needs it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.sdk import Client

START_SECONDS = 180.0
STOP_SECONDS = 40.0
LOG, DATA = "platform.log", "data"
LOG_LINES_SHOWN = 15
COMMAND = (sys.executable, "-m", "embedded", "up")


class PlatformError(Exception):
    """The platform did not start, or ended on its own; the message has its last words."""


@dataclass(frozen=True)
class Platform:
    """A platform that answers: its address and the key of its administrator."""

    url: str
    key: str


@contextmanager
def running_platform(
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
    is_ready: Callable[[Platform], bool] | None = None,
) -> Iterator[Platform]:
    """Start a platform with its data in ``folder``, wait until it answers, and stop it at the end.

    Args:
        folder: An empty folder; it gets the data and ``platform.log``.
        settings: Variables that begin with ``LENET_``; none of our own environment is taken over.
        command: What to start in place of ``python -m embedded up`` (tests).
        is_ready: How to ask whether it answers (tests).

    Raises:
        PlatformError: It ended before it answered, or did not answer in time.
    """
    port = _free_port()
    platform = Platform(f"http://127.0.0.1:{port}", secrets.token_urlsafe(24))
    with (folder / LOG).open("wb") as output:
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the platform in good order.
        process = subprocess.Popen(  # noqa: S603 - our own program, no shell
            command,
            env={**_environment(folder / DATA, port=port, key=platform.key), **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, lambda: (is_ready or _answers)(platform), folder)
        yield platform
    finally:
        _stop(process)


def last_words(folder: Path) -> str:
    """Return the last lines that the platform in ``folder`` has logged; none where it was not started."""
    log = folder / LOG
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-LOG_LINES_SHOWN:])


def keep_logs(folder: Path, target: Path) -> list[Path]:
    """Copy the logs of the platform in ``folder`` into ``target`` and return the copies."""
    logs = [log for log in (folder / LOG, *sorted((folder / DATA / "logs").glob("*.log"))) if log.exists()]
    if logs:
        target.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(log, target)) for log in logs]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(data_dir: Path, *, port: int, key: str) -> dict[str, str]:
    """Return the environment without anybody's settings but the demo's: it must touch nothing else that runs here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LENET_")}
    return {**kept, "LENET_DATA_DIR": str(data_dir), "LENET_API_PORT": str(port), "LENET_API_KEY": key}


def _answers(platform: Platform) -> bool:
    with Client(platform.url, platform.key) as client:
        return client.is_ready()


def _wait_until_ready(process: subprocess.Popen[bytes], is_ready: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if process.poll() is not None:
            raise PlatformError(f"The platform ended with status {process.returncode}:\n{last_words(folder)}")
        if time.monotonic() > deadline:
            raise PlatformError(f"The platform did not answer within {START_SECONDS:g} s:\n{last_words(folder)}")
        time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # A signal that we were started to ignore (a shell's background job) the platform ignores too.
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    try:
        any(_ended_by(process, polite) for polite in heard)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _ended_by(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    process.send_signal(number)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True

"""A start of the platform, from the lock on the data directory to the last process that ends."""

import secrets
import time
from collections.abc import Callable
from contextlib import closing

from core.settings import Settings
from embedded import ports, redis_server
from embedded.console import Console, banner
from embedded.errors import StartError
from embedded.first_key import FILE_NAME
from embedded.guard import Guard
from embedded.interrupts import Interrupts
from embedded.lock import hold_directory
from embedded.processes import Patience, Supervisor
from embedded.wiring import environment, logs_folder, prepare_database, present_environment, stages

_TEND_SECONDS = 0.1
_OWN_REDIS_SECONDS = 60.0  # It may have to read a long file of writes.
_NAMED_REDIS_SECONDS = 5.0
_READY_SECONDS = 180.0


def run(settings: Settings, console: Console) -> None:
    """Start the platform, look after it until a signal asks for its end, and stop every process.

    Raises:
        StartError: Something that the person at the console has to put right.
        KeepsDyingError: A process cannot be kept running.
    """
    with Interrupts() as interrupts, hold_directory(settings.data_dir.resolve()) as lock:
        settings = _settle(settings)
        with closing(Guard(lock=lock)) as watcher:
            supervisor = Supervisor(console.warn, patience=Patience(), watcher=watcher)
            try:
                _bring_up(settings, supervisor, interrupts, console)
                while not interrupts.asked():
                    supervisor.tend(give_up=False)
                    time.sleep(_TEND_SECONDS)
                console.tell("Stopping …")
            finally:
                supervisor.stop(hurried=interrupts.hurried)
    console.tell("Stopped.")


def _settle(settings: Settings) -> Settings:
    """Return the settings with an absolute data directory and a port that is ours to take.

    Raises:
        StartError: Others could reach the address and no key is set, or the port is taken.
    """
    if not (settings.listens_on_loopback or settings.api_key):
        raise StartError(
            f"others could reach {settings.api_host}, and LENET_API_KEY is not set: set it to a secret of your own, "
            "of 16 characters at least, or leave LENET_API_HOST at 127.0.0.1."
        )
    port = ports.reserve_port(settings.api_host, settings.api_port)
    return Settings(**(settings.model_dump() | {"data_dir": settings.data_dir.resolve(), "api_port": port}))


def _bring_up(settings: Settings, supervisor: Supervisor, interrupts: Interrupts, console: Console) -> None:
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else _start_redis(settings, supervisor)
    key = prepare_database(settings)

    def wait_for(condition: Callable[[], bool], *, seconds: float, otherwise: Callable[[], str]) -> None:
        deadline = time.monotonic() + seconds
        while not interrupts.asked() and not condition():
            supervisor.tend(give_up=True)
            if time.monotonic() > deadline:
                raise StartError(otherwise())
            time.sleep(_TEND_SECONDS)

    wait_for(
        lambda: redis_server.complaint(redis_url) is None,
        seconds=_NAMED_REDIS_SECONDS if settings.redis_url else _OWN_REDIS_SECONDS,
        otherwise=lambda: _silent_redis(settings, redis_url),
    )
    for stage in () if interrupts.asked() else stages(settings, _variables(settings, redis_url)):
        supervisor.start(stage)
    wait_for(lambda: _is_ready(settings), seconds=_READY_SECONDS, otherwise=lambda: _unready(settings, supervisor))
    if not interrupts.asked():
        console.tell(_banner(settings, key))


def _start_redis(settings: Settings, supervisor: Supervisor) -> str:
    port, password = ports.reserve_port("127.0.0.1", 0), secrets.token_urlsafe(24)
    url = redis_server.url_of(port, password)
    log = logs_folder(settings) / "redis.log"
    folder = settings.data_dir / "redis"
    program = redis_server.make_program(folder, log, _variables(settings, url), port=port, password=password)
    supervisor.start([program])
    return url


def _variables(settings: Settings, redis_url: str) -> dict[str, str]:
    return environment(settings, present_environment(), redis_url=redis_url)


def _silent_redis(settings: Settings, url: str) -> str:
    reason = redis_server.complaint(url)
    if settings.redis_url:
        return f"The Redis of LENET_REDIS_URL cannot be used ({reason}): start it, or unset the variable to get one."
    return f"Redis cannot be used ({reason}). Its log: {logs_folder(settings) / 'redis.log'}"


def _is_ready(settings: Settings) -> bool:
    status, _ = ports.fetch(settings.api_host, settings.api_port, "/readyz")
    return status == 200


def _unready(settings: Settings, supervisor: Supervisor) -> str:
    _, answer = ports.fetch(settings.api_host, settings.api_port, "/readyz")
    return f"The API is not ready after {_READY_SECONDS:g} s: {answer}\nIts last lines:\n{supervisor.last_lines('api')}"


def _banner(settings: Settings, key: str | None) -> str:
    shown, place = key, f"kept in {settings.data_dir / FILE_NAME}"
    if settings.api_key:
        shown, place = "the one in LENET_API_KEY", "not written down here"
    if key is None:
        shown, place = "one of your own", "the first one was revoked"
    return banner(
        url=ports.url_of(settings.api_host, settings.api_port),
        key=shown or "",
        key_place=place,
        data=str(settings.data_dir),
        logs=str(logs_folder(settings)),
    )

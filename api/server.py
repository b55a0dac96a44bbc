"""The server: ``python -m api.server`` serves the application under gunicorn until a signal ends it.

The first process only listens and forks. It imports nothing of the application: what starts threads when it is
imported, as ONNX Runtime does, hangs or crashes in a forked copy.
"""

import argparse
import contextlib
import ctypes
import gc
import logging
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.workers.base import Worker

from api.connections import patient_worker
from api.pacing import Patience
from core import logs
from core.settings import Settings

_GRACEFUL_SECONDS = 8
_SILENT_SECONDS = 60
_KEEP_ALIVE_SECONDS = 15
_BACKLOG = 512
_FORM_OVERHEAD_BYTES = 2**16
_LONGEST_LINE_BYTES = 4094
_MOST_HEADERS = 64
_LONGEST_HEADER_BYTES = 8190
_MOST_CONNECTIONS = 1000
# Libraries, logs and connections to the services; and what one request may open beside its own.
_FILES_OF_ITS_OWN = 64
_FILES_PER_THREAD = 4
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - gunicorn makes an unnamed file in it for each process
# By the numbers of <malloc.h>: blocks that are mapped each by itself, what is kept free at the top of an arena, arenas.
_MALLOC_OPTIONS = {-3: 2**20, -1: 2**20, -8: 2}
_log = logs.get(__name__)


class ListenError(Exception):
    """The address cannot be listened on, or must not be; the message says what to do."""


class PlainLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Hands gunicorn's lines to this process's logging, in place of files and forms of its own."""

    def setup(self, cfg: Config) -> None:
        """Leave every handler to the root."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.WARNING)


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn with threads, set up by the settings, on a socket that is open already."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        """Set what gunicorn is to do."""
        options: dict[str, Any] = {
            "bind": f"fd://{self._listener.detach()}",
            "worker_class": patient_worker(
                Patience(self._settings.client_patience_seconds, self._settings.client_bytes_per_second),
                most_body_bytes=_longest_body_bytes(self._settings),
            ),
            "limit_request_line": _LONGEST_LINE_BYTES,
            "limit_request_fields": _MOST_HEADERS,
            "limit_request_field_size": _LONGEST_HEADER_BYTES,
            # Whose word is taken on addresses and schemes is decided in one place: `api.proxies`.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "workers": self._settings.api_processes,
            "threads": self._settings.api_threads,
            "worker_connections": count_connections(_read_file_limit(), threads=self._settings.api_threads),
            "timeout": _SILENT_SECONDS,
            "graceful_timeout": _GRACEFUL_SECONDS,
            "keepalive": _KEEP_ALIVE_SECONDS,
            "worker_tmp_dir": str(_MEMORY_FOLDER) if os.access(_MEMORY_FOLDER, os.W_OK) else None,
            "control_socket_disable": True,
            "logger_class": PlainLogger,
            "post_worker_init": _begin_to_serve,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application; called in each process."""
        from api.wiring import create  # noqa: PLC0415 - after the fork, see above

        return_memory()
        application = create()
        # What is loaded stays. To look through it for rings of garbage again and again takes a tenth of a second.
        gc.collect()
        gc.freeze()
        return application


def _longest_body_bytes(settings: Settings) -> int:
    """Return what no body is longer than: an archive's, with the form around it, or what else there is."""
    archive = settings.max_upload_bytes + _FORM_OVERHEAD_BYTES
    return max(archive, settings.max_request_bytes, settings.max_predict_bytes)


def return_memory() -> None:
    """Have the C library give what is free back to the system.

    By itself glibc learns from one large body to keep blocks of its size, in each of many arenas: the memory of a
    process would be that of the largest bodies that it ever had. Other C libraries have no such function.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS.items():
            mallopt(option, value)


def _read_file_limit() -> int:
    """Return how many files a process may have open, which includes connections."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def count_connections(most_files: int, *, threads: int) -> int:
    """Return how many connections a process may hold: with every thread at work, files must be left over.

    A process that runs out of them ends, and every request that it was at with it. Whoever comes later waits at the
    door until another leaves.
    """
    if most_files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(threads, min(_MOST_CONNECTIONS, most_files - _FILES_OF_ITS_OWN - _FILES_PER_THREAD * threads))


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ListenError: The address is taken, or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(
            f"{host}:{port} cannot be listened on ({error.strerror or error}). "
            "Stop what listens there, or choose another port with LENET_API_PORT."
        ) from error
    return listener


def serve(settings: Settings, *, key_is_stored: bool = False) -> None:
    """Serve until a signal ends it.

    Args:
        settings: Where it listens, and all else.
        key_is_stored: Whether the operator's key is in the database already, and need not be among the settings.

    Raises:
        ListenError: The address cannot be listened on, or others could reach it and the operator has set no key.
    """
    logs.configure(settings)
    if not (settings.listens_on_loopback or settings.api_key or key_is_stored):
        raise ListenError(
            f"Others could reach {settings.api_host}, and LENET_API_KEY is not set. Set it to a secret of your own, "
            "of 16 characters at least, or listen on 127.0.0.1 (LENET_API_HOST)."
        )
    _hide_banner()
    listener = open_listener(settings.api_host, settings.api_port)
    _log.info("listening", host=settings.api_host, port=listener.getsockname()[1])
    Server(settings, listener).run()


def main() -> int:
    """Serve by the environment's settings and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m api.server",
        description="Serve the HTTP API until a signal ends it.",
        epilog="Where it listens and what it uses are settings: variables of the environment, see docs/reference.",
    )
    parser.add_argument(
        "--key-is-stored", action="store_true", help="the operator's key is in the database: LENET_API_KEY may be unset"
    )
    options = parser.parse_args()
    try:
        serve(Settings(), key_is_stored=options.key_is_stored)
    except ListenError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _hide_banner() -> None:
    """Leave out the ``Server`` header, for which gunicorn has no setting: what answers is nobody's business."""
    given = wsgi.Response.default_headers

    def default_headers(response: wsgi.Response) -> list[str]:
        return [line for line in given(response) if not line.startswith("Server:")]

    wsgi.Response.default_headers = default_headers


def _begin_to_serve(worker: Worker) -> None:
    """Say so, and let open event streams end with the process: otherwise each would hold it up for the whole grace."""
    from api.ports import find_ports  # noqa: PLC0415 - after the fork, see above

    find_ports(worker.wsgi).streams.serving = lambda: bool(worker.alive)
    _log.info("takes requests", process=os.getpid())


if __name__ == "__main__":
    sys.exit(main())

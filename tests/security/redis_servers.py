"""Redis as the platform sets it up, embedded and in production, with an administrator beside it who can look."""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from embedded import redis_server

PRODUCTION = Path(__file__).parents[2] / "deploy" / "redis.conf"
Start = Callable[..., AbstractContextManager[None]]


@dataclass(frozen=True)
class GuardedRedis:
    """A running server: what the platform is told of it, and the administrator's connection."""

    url: str
    port: int
    admin: Redis

    def denied(self) -> list[str]:
        """Return what the platform's user was refused since the last call."""
        found = [f"{entry['reason']} {entry['object']}" for entry in self.admin.acl_log()]
        self.admin.acl_log_reset()
        return found


@contextmanager
def guarded_redis(form: str, folder: Path, *, start: Start, port: int) -> Iterator[GuardedRedis]:
    """Run a Redis in the form ``embedded`` or ``production``."""
    password, admins = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    text = (
        redis_server.configuration(port, password)
        if form == "embedded"
        else f"bind 127.0.0.1\nport {port}\n{_filled_in(password)}"
    )
    text = re.sub(r"^dir .*$", f"dir {folder}", text, flags=re.MULTILINE)
    path = folder / "redis.conf"
    path.write_text(f"{text}\nuser tests on >{admins} ~* &* +@all\n")
    admin = Redis(port=port, username="tests", password=admins, decode_responses=True)
    with start([redis_server.find_program(), path], ready=lambda: _answers(admin), folder=folder):
        yield GuardedRedis(redis_server.url_of(port, password), port, admin)
        admin.close()


def _filled_in(password: str) -> str:
    return PRODUCTION.read_text().replace("PASSWORD_SHA256", hashlib.sha256(password.encode()).hexdigest())


def _answers(admin: Redis) -> bool:
    try:
        return bool(admin.ping())
    except RedisError:
        return False

"""``python -m worker.health``: whether the worker of this host lives, for the health check of a container.

Exit status: 0 it has reported to the database lately; 1 it has not, or the database does not answer.
"""

import socket
import sys

from core.db.engine import open_sessions, transaction
from core.db.wiring import open_database
from core.errors import UnavailableError
from core.services.workers import ALIVE_SECONDS, host_lives
from core.settings import Settings


def main() -> int:
    """Ask by the environment's settings and return the exit status."""
    engine = open_database(Settings())
    host = socket.gethostname()
    try:
        with transaction(open_sessions(engine), read_only=True) as session:
            lives = host_lives(session, host)
    except UnavailableError as error:
        return _complain(error.detail)
    finally:
        engine.dispose()
    return 0 if lives else _complain(f"No worker of {host} has reported within {ALIVE_SECONDS:g} s.")


def _complain(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

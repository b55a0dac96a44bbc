"""Ports of this machine: which is free, and whether the API behind one is ready."""

import http.client
import socket

from embedded.errors import StartError

_ANSWER_SECONDS = 10.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach one that listens so


def reserve_port(host: str, port: int) -> int:
    """Return ``port``, or a free one where it is 0.

    Raises:
        StartError: Something listens there already, or it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            # Connections of a start that has just ended do not make the port taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
            return int(listener.getsockname()[1])
    except OSError as error:
        raise StartError(
            f"Port {port} of {host} cannot be listened on ({error.strerror}): stop what listens there, "
            "or choose another with LENET_API_PORT or --port."
        ) from error


def reachable(host: str) -> str:
    """Return the address at which this machine reaches what listens on ``host``."""
    return _ANY_ADDRESS.get(host, host)


def url_of(host: str, port: int) -> str:
    """Return the URL of what listens there."""
    address = reachable(host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def fetch(host: str, port: int, path: str) -> tuple[int, str]:
    """Return status and body of a GET, or 0 and the reason where nothing answers."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, f"no answer ({type(error).__name__})"
    finally:
        connection.close()

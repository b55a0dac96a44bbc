"""Requests at a fixed rate, whether the server keeps up or not."""

import threading
import time
from collections.abc import Callable

from bench.requests import Connection

_CONNECTIONS = 8


def pace(url: str, make: Callable[[], bytes], *, rate: float, seconds: float) -> list[float]:
    """Return the seconds of each request, from the moment that it was due, so that one that waits for others counts.

    Args:
        url: The server's address.
        make: Makes the next request.
        rate: Requests a second.
        seconds: For how long.
    """
    requests = [make() for _ in range(round(rate * seconds))]
    connections = [Connection(url) for _ in range(_CONNECTIONS)]
    begins_at = time.perf_counter() + 0.1
    took = [0.0] * len(requests)

    def work(place: int) -> None:
        for number in range(place, len(requests), _CONNECTIONS):
            due_at = begins_at + number / rate
            time.sleep(max(0.0, due_at - time.perf_counter()))
            connections[place].ask(requests[number])
            took[number] = time.perf_counter() - due_at

    _run_together(work)
    for connection in connections:
        connection.close()
    return took


def _run_together(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(place,)) for place in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

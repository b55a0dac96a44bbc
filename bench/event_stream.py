"""A job's server-sent events, read as they come."""

import http.client
import json
import time
from urllib.parse import urlsplit

from bench.platform import BenchError, Platform

_SILENCE_SECONDS = 60.0


def read_epochs(platform: Platform, job_id: str, seen: dict[int, float]) -> None:
    """Read a job's events to their end, and put into ``seen`` when each epoch came, in seconds since 1970."""
    parts = urlsplit(platform.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SILENCE_SECONDS)
    headers = {"Authorization": f"Bearer {platform.key}", "Accept": "text/event-stream"}
    connection.request("GET", f"/api/v1/jobs/{job_id}/events", headers=headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise BenchError(f"the stream of {job_id} answered {answer.status}")
    kind = b""
    while line := answer.readline():
        name, _, value = line.strip().partition(b": ")
        if name == b"event":
            kind = value
        elif name == b"data" and kind == b"epoch":
            seen.setdefault(json.loads(value)["epoch"], time.time())
    connection.close()

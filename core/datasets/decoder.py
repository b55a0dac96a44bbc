"""The program of the decoding process: ``python -m core.datasets.decoder``; see `core.datasets.process`.

It reads one line of JSON, sets its own limits, runs, and writes lines of JSON: ``{"progress": share}`` and at the end
one of ``{"digest": …}``, ``{"rejected": …}`` and ``{"unavailable": reason}``.
"""

import errno
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.datasets.ingest import build_pack, ingest
from core.datasets.limits import ArchiveLimits
from core.datasets.pool import end_with_parent
from core.errors import DatasetRejectedError

_OPEN_FILES = 256
_FILE_BYTES_BEYOND_ARCHIVE = 4 * 2**30
_PROGRESS_SECONDS = 0.2
_MACHINE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM})

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do what the line on standard input asks."""
    request = json.loads(sys.stdin.readline())
    say = _take_output()
    end_with_parent(request["parent"])
    limits = ArchiveLimits(**request["limits"])
    _limit_process(request, limits)
    try:
        digest = _run(request, limits, say)
    except DatasetRejectedError as error:
        faults = [(fault.pointer, fault.detail) for fault in error.faults]
        say({"rejected": {"detail": error.detail, "code": error.code, "faults": faults}})
    except MemoryError:
        say({"rejected": {"detail": "The archive takes more memory than allowed.", "code": "too_large", "faults": []}})
    except OSError as error:
        if error.errno not in _MACHINE_ERRORS:
            raise
        say({"unavailable": os.strerror(error.errno)})
    else:
        say({"digest": digest})


def _take_output() -> Say:
    """Keep standard output for messages alone: what anything else prints goes to standard error."""
    channel = os.dup(1)
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(channel, data) :]

    return say


def _limit_process(request: dict[str, Any], limits: ArchiveLimits) -> None:
    """Bound memory, files and priority; what this process starts inherits it all."""
    os.nice(request["nice"])
    for kind, most in (
        (resource.RLIMIT_AS, request["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits.total_bytes + _FILE_BYTES_BEYOND_ARCHIVE),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))


def _run(request: dict[str, Any], limits: ArchiveLimits, say: Say) -> str:
    told = 0.0

    def report(share: float) -> None:
        nonlocal told
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            say({"progress": share})

    archive, output = Path(request["archive"]), Path(request["output"])
    size, processes, stall = request["image_size"], request["processes"], request["stall_seconds"]
    if request["color_mode"] is None:
        return ingest(
            archive,
            output,
            limits=limits,
            image_size=size,
            processes=processes,
            stall_seconds=stall,
            on_progress=report,
        ).digest
    return build_pack(
        archive,
        output,
        image_size=size,
        color_mode=request["color_mode"],
        limits=limits,
        processes=processes,
        stall_seconds=stall,
        on_progress=report,
    )


if __name__ == "__main__":
    main()

"""The program of the decoding process: ``python -m core.datasets.decoder``; see `core.datasets.process`.

It reads one line of JSON, confines itself, runs, and writes lines of JSON: ``{"unconfined": {measure: reason}}`` once,
``{"progress": share}``, and at the end one of ``{"digest": …}``, ``{"rejected": …}`` and ``{"unavailable": reason}``.
"""

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.datasets.ingest import build_pack, ingest
from core.datasets.limits import ArchiveLimits
from core.errors import DatasetRejectedError
from core.sandbox.bounds import Bounds
from core.sandbox.confinement import Reach, confine

_OPEN_FILES = 256
_FILE_BYTES_BEYOND_ARCHIVE = 4 * 2**30
_PROGRESS_SECONDS = 0.2
_MACHINE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.EFBIG}
)
_TOO_LARGE = {"rejected": {"detail": "The archive takes more room than allowed.", "code": "too_large", "faults": []}}

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do what the line on standard input asks; one that is waited for in vain asks nothing."""
    line = sys.stdin.readline()
    if not line:
        return
    request = json.loads(line)
    say = _take_output()
    limits = ArchiveLimits(**request["limits"])
    say({"unconfined": _confine(request, limits)})
    try:
        digest = _run(request, limits, say)
    except DatasetRejectedError as error:
        faults = [(fault.pointer, fault.detail) for fault in error.faults]
        say({"rejected": {"detail": error.detail, "code": error.code, "faults": faults}})
    except MemoryError:
        say({"rejected": {**_TOO_LARGE["rejected"], "detail": "The archive takes more memory than allowed."}})
    except OSError as error:
        if error.errno not in (*_MACHINE_ERRORS, errno.EFBIG):
            raise
        say(_TOO_LARGE if error.errno == errno.EFBIG else {"unavailable": os.strerror(error.errno)})
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


def _confine(request: dict[str, Any], limits: ArchiveLimits) -> dict[str, str]:
    """Give up all but what the archive takes; what this process starts inherits it. Return what could not be done."""
    bounds = Bounds(
        memory_bytes=request["memory_bytes"],
        file_bytes=limits.total_bytes + _FILE_BYTES_BEYOND_ARCHIVE,
        open_files=_OPEN_FILES,
        cpu_seconds=request["total_seconds"],
        nice=request["nice"],
    )
    reach = Reach(readable=(Path(request["archive"]),), writable=(Path(request["output"]),))
    return confine(bounds, reach, parent=request["parent"], may_fork=True)


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

"""Decoding in a process of its own: hostile images meet it, not the worker, and limits of the system hold it.

The process is started anew (a fork of a process with many threads may hang), in a session of its own, without the
platform's settings and secrets (`core.datasets.decoder` is what runs there, confined by `core.sandbox`). It gets one
line of JSON on its standard input and answers lines on its standard output; when it is silent for too long or takes
too long in all, or whoever started it ends, it and its decoding processes are killed.
"""

import json
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core import logs
from core.datasets.decoders import Decoder, Decoders
from core.datasets.ingest import IMAGE_SIZE, IngestResult, ignore_progress
from core.datasets.limits import ArchiveLimits
from core.domain.datasets import ColorMode, Manifest
from core.errors import DatasetRejectedError, Fault, UnavailableError
from core.sandbox.notes import note_unconfined
from core.settings import Settings

_TICK_SECONDS = 0.5
_STALL_SHARE = 1 / 3

_log = logs.get(__name__)


def run_ingest(
    archive: Path,
    output: Path,
    *,
    settings: Settings,
    image_size: int = IMAGE_SIZE,
    processes: int | None = None,
    on_progress: Callable[[float], None] = ignore_progress,
    decoders: Decoders | None = None,
) -> IngestResult:
    """Run `core.datasets.ingest.ingest` in a process of its own; ``output`` then has its files.

    Args:
        archive: A ZIP, tar or tar.gz.
        output: An existing folder.
        settings: Where the limits come from.
        image_size: Side of the pack's images in pixels.
        processes: Decoding processes; by default as many as cores.
        on_progress: Called with the share that is done, 0–1, at least each second. What it raises ends the process.
        decoders: Where the process comes from; None: it is started now.

    Raises:
        DatasetRejectedError: With every reason; ``decoding_stalled`` where decoding as a whole made no progress,
            ``decoding_too_long`` where it made some for longer than is allowed.
        UnavailableError: This machine cannot do it now: its disk is full (``decoder_unavailable``), or the system
            has ended the process (``decoder_lost``).
    """
    request = {"image_size": image_size, "color_mode": None}
    with decoders.take() if decoders else Decoder() as decoder:
        answer = _run(
            decoder, archive, output, request, settings=settings, processes=processes, on_progress=on_progress
        )
    manifest = Manifest.model_validate_json((output / "manifest.json").read_text(encoding="utf-8"))
    return IngestResult(manifest, str(answer["digest"]), image_size)


def run_build_pack(
    archive: Path,
    output: Path,
    *,
    image_size: int,
    color_mode: ColorMode,
    settings: Settings,
    processes: int | None = None,
    on_progress: Callable[[float], None] = ignore_progress,
) -> str:
    """Run `core.datasets.ingest.build_pack` in a process of its own; return the digest of ``output``'s ``pack``.

    Arguments and errors are those of `run_ingest`.
    """
    request = {"image_size": image_size, "color_mode": color_mode}
    with Decoder() as decoder:
        answer = _run(
            decoder, archive, output, request, settings=settings, processes=processes, on_progress=on_progress
        )
    return str(answer["digest"])


def _run(
    decoder: Decoder,
    archive: Path,
    output: Path,
    request: dict[str, Any],
    *,
    settings: Settings,
    processes: int | None,
    on_progress: Callable[[float], None],
) -> dict[str, Any]:
    request |= {
        "archive": str(archive.resolve()),
        "output": str(output.resolve()),
        "limits": asdict(ArchiveLimits.from_settings(settings)),
        "processes": processes,
        "stall_seconds": settings.decode_timeout_seconds * _STALL_SHARE,
        "total_seconds": settings.decode_total_seconds,
        "memory_bytes": settings.decode_memory_bytes,
        "nice": settings.worker_nice,
        "parent": os.getpid(),
    }
    decoder.ask(request)
    for message in _iterate_messages(decoder, settings):
        if "unconfined" in message:
            note_unconfined("decoding", message["unconfined"])
        elif "progress" in message:
            on_progress(message["progress"])
        else:
            return _conclude(message)
    _log.error("decoding ended unexpectedly", stderr=decoder.end())
    raise UnavailableError("Decoding ended unexpectedly.", code="decoder_lost")


def _iterate_messages(decoder: Decoder, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield what the process says, and twice a second the last share again; end when the process ends."""
    pipe, buffer, share = decoder.output, b"", 0.0
    heard = started = time.monotonic()
    while True:
        _check_time(time.monotonic(), heard=heard, started=started, settings=settings)
        ready, _, _ = select.select([pipe], [], [], _TICK_SECONDS)
        if not ready:
            yield {"progress": share}
            continue
        data = os.read(pipe, 2**16)
        if not data:
            return
        heard = time.monotonic()
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            share = message.get("progress", share)
            yield message


def _check_time(now: float, *, heard: float, started: float, settings: Settings) -> None:
    silent, total = settings.decode_timeout_seconds, settings.decode_total_seconds
    if now - heard > silent:
        raise DatasetRejectedError(f"Decoding made no progress for {silent:g} seconds.", code="decoding_stalled")
    if now - started > total:
        raise DatasetRejectedError(f"Decoding takes more than {total:g} seconds.", code="decoding_too_long")


def _conclude(message: dict[str, Any]) -> dict[str, Any]:
    """Return a result, or raise what the process could not."""
    if "rejected" in message:
        error = message["rejected"]
        faults = [Fault(pointer, detail) for pointer, detail in error["faults"]]
        raise DatasetRejectedError(error["detail"], code=error["code"], faults=faults)
    if "unavailable" in message:
        raise UnavailableError(f"This machine cannot decode now: {message['unavailable']}.", code="decoder_unavailable")
    return message

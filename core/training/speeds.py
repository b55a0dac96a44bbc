"""Speeds that were measured on this machine, noted: a choice by the clock comes out the same for equal trainings."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def measure_once(folder: Path | None, what: Mapping[str, Any], measure: Callable[[], float]) -> float:
    """Return what ``measure`` gives, or gave the first time that it was asked about ``what``.

    Of processes that measure at the same time, all go by the first one's figure. A note that is broken is replaced;
    where none can be kept, the figure just measured holds.

    Args:
        folder: Where notes are; made where it is missing. None notes nothing, and measures each time.
        what: Everything that the figure depends on, as JSON values.
        measure: Measures.
    """
    if folder is None:
        return measure()
    described = json.dumps(what, sort_keys=True)
    note = folder / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.json"
    if (known := _read(note)) is not None:
        return known
    is_broken = note.exists()
    figure = measure()
    with suppress(OSError):  # A figure that cannot be kept is none the worse.
        if is_broken:
            note.unlink(missing_ok=True)
        _write(note, {"what": what, "figure": figure})
    kept = _read(note)
    return figure if kept is None else kept


def _read(note: Path) -> float | None:
    try:
        return float(json.loads(note.read_text(encoding="utf-8"))["figure"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(note: Path, content: Mapping[str, Any]) -> None:
    """Write a note whole, unless another process was quicker."""
    note.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, encoding="utf-8") as draft:
        json.dump(content, draft)
        draft.flush()
        with suppress(FileExistsError):
            os.link(draft.name, note)

"""Checkpoints: everything that a training needs to go on as if it had not been interrupted, in one file.

The file is a mark, the SHA-256 of what follows, and a safetensors file: named arrays, and plain values as JSON in its
metadata. Random states are not in it: every draw is made from the seed and its place (`core.training.draws`).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.errors import IntegrityError
from core.training.engines import Arrays

_MARK = b"lenet-checkpoint-2\n"
_KEPT = 2
_PLAIN = "plain"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: JSON values, whose floats keep every bit, and arrays by name."""

    plain: Mapping[str, Any]
    arrays: Arrays


def write_checkpoint(folder: Path, content: Checkpoint, *, epoch: int, batch: int) -> Path:
    """Write ``content`` whole or not at all, and sync it.

    The last two checkpoints of the folder are kept.
    """
    payload = save(dict(content.arrays), {_PLAIN: json.dumps(content.plain)})
    path = folder / f"checkpoint-{epoch:04d}-{batch:07d}.pt"
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        file.write(_MARK + hashlib.sha256(payload).digest() + payload)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(folder)
    for old in sorted(folder.glob("checkpoint-*.pt"))[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Return what `write_checkpoint` was given.

    Raises:
        IntegrityError: The file is not a checkpoint, or is not whole.
    """
    data = path.read_bytes()
    digest, payload = data[len(_MARK) : len(_MARK) + 32], data[len(_MARK) + 32 :]
    if not data.startswith(_MARK) or hashlib.sha256(payload).digest() != digest:
        raise IntegrityError("The checkpoint is torn, or is none.")
    try:
        arrays = load(payload)
        header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
        return Checkpoint(json.loads(header["__metadata__"][_PLAIN]), arrays)
    except (SafetensorError, KeyError) as error:
        raise IntegrityError("The checkpoint cannot be read.") from error


def _sync(folder: Path) -> None:
    """Make the new name last too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

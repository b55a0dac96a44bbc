"""Checkpoints: everything that a training needs to go on as if it had not been interrupted, in one file.

The file is a mark, the SHA-256 of what follows, and a ``torch.save`` of tensors and plain values. Random states are
not in it: every draw is made from the seed and its place (`core.training.draws`).
"""

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.errors import IntegrityError

_MARK = b"lenet-checkpoint-1\n"
_KEPT = 2


def write_checkpoint(folder: Path, content: Mapping[str, Any], *, epoch: int, batch: int) -> Path:
    """Write ``content`` (tensors, plain values and mappings of them) whole or not at all, and sync it.

    The last two checkpoints of the folder are kept.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    payload = buffer.getvalue()
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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `write_checkpoint` was given.

    Raises:
        IntegrityError: The file is not a checkpoint, or is not whole.
    """
    data = path.read_bytes()
    digest, payload = data[len(_MARK) : len(_MARK) + 32], data[len(_MARK) + 32 :]
    if not data.startswith(_MARK) or hashlib.sha256(payload).digest() != digest:
        raise IntegrityError("The checkpoint is torn, or is none.")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise IntegrityError("The checkpoint cannot be read.") from error
    return content


def _sync(folder: Path) -> None:
    """Make the new name last too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

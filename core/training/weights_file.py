"""Weights as a safetensors file whose bytes are the same at every writing.

The library keeps the metadata in a table without order, so that a file of several entries differs from run to run.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import save

from core.training.engines import Arrays

_LENGTH = 8


def write_weights_file(path: Path, weights: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays by name, and metadata in the order of its names; equal content makes equal bytes."""
    content = save(dict(weights), dict(metadata))
    start = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:start])
    # The arrays' entries come sorted from the library; their places count from the header's end.
    ordered = {
        "__metadata__": dict(sorted(metadata.items())),
        **{name: header[name] for name in header if name in weights},
    }
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    path.write_bytes(len(text).to_bytes(_LENGTH, "little") + text + content[start:])

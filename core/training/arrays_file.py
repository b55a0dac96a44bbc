"""Weights as NumPy's own archive, whose bytes are the same at every writing."""

import json
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from core.domain.exports import ModelMetadata
from core.portable.predict import METADATA
from core.training.engines import Arrays


def write_arrays_file(path: Path, weights: Arrays, metadata: ModelMetadata) -> None:
    """Write ``model.npz``: the weights by name, and ``metadata`` as the bytes of its JSON; ``numpy.load`` reads it."""
    about = np.frombuffer(json.dumps(metadata.model_dump(mode="json"), ensure_ascii=False).encode(), np.uint8)
    with zipfile.ZipFile(path, "w") as file:
        for name, array in {METADATA: about, **weights}.items():
            # NumPy's own writer stamps each entry with the time.
            with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                _write(entry, array)


def _write(entry: IO[bytes], array: npt.NDArray[Any]) -> None:
    np.lib.format.write_array(entry, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)

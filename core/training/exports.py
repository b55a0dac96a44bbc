"""The files of a trained net, each read again and compared with the net itself before it may be published."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from core.domain.exports import ModelMetadata
from core.domain.layers import Layer
from core.errors import TrainingError
from core.portable.predict import Model
from core.reporting.golden import Golden
from core.training.arrays_file import write_arrays_file
from core.training.engines import Arrays, Logits
from core.training.export import export_model, run_exported
from core.training.torch_file import read_torch_file, write_torch_file
from core.training.weights_file import write_weights_file

TOLERANCE = 1e-4
"""How far an export may be from the net: absolute, and for logits beyond 1 relative."""

_Answer = Callable[[Path, npt.NDArray[np.uint8], ModelMetadata], Logits]


@dataclass(frozen=True)
class TrainedNet:
    """What is exported: the layers, the weights by their names in the ``state_dict``, and what to say of both."""

    network: Sequence[Layer]
    weights: Arrays
    metadata: ModelMetadata


def write_exports(net: TrainedNet, folder: Path, golden: Golden) -> dict[str, Path]:
    """Write every file of the model into ``folder`` and return them by name.

    Raises:
        TrainingError: ``export_mismatch``: one of them cannot be read again, or answers ``golden`` otherwise than the
            net did.
    """
    files = {name: folder / name for name in _ANSWERS}
    write_torch_file(files["model.pth"], net.weights, net.metadata.properties())
    write_weights_file(files["model.safetensors"], net.weights, net.metadata.properties())
    write_arrays_file(files["model.npz"], net.weights, net.metadata)
    channels = net.metadata.channels
    files["model.onnx"].write_bytes(export_model(net.network, net.weights, net.metadata, channels=channels))
    for name, path in files.items():
        verify(name, path, golden, net.metadata)
    return files


def verify(name: str, path: Path, golden: Golden, metadata: ModelMetadata) -> None:
    """Compare the logits of the model file at ``path`` with the net's own.

    Args:
        name: The file's, which tells its form.
        path: Where it is.
        golden: Images and the net's answers to them.
        metadata: Of the model; files that say it themselves are not told.

    Raises:
        TrainingError: ``export_mismatch``.
    """
    try:
        logits = _ANSWERS[name](path, golden.pixels, metadata)
    except (ValueError, KeyError, SafetensorError) as error:
        raise TrainingError(f"{name} cannot be read again.", code="export_mismatch") from error
    if logits.shape != golden.logits.shape or not _agree(logits, golden.logits):
        distance = np.abs(logits - golden.logits).max() if logits.shape == golden.logits.shape else np.inf
        detail = f"{name} answers otherwise than the trained net: the logits differ by up to {distance:.2g}."
        raise TrainingError(detail, code="export_mismatch")


def _agree(logits: Logits, expected: Logits) -> bool:
    return bool(np.allclose(logits, expected, rtol=TOLERANCE, atol=TOLERANCE))


def _ask_torch_file(path: Path, pixels: npt.NDArray[np.uint8], metadata: ModelMetadata) -> Logits:
    return _compute(read_torch_file(path), pixels, metadata)


def _ask_weights_file(path: Path, pixels: npt.NDArray[np.uint8], metadata: ModelMetadata) -> Logits:
    return _compute(load_file(path), pixels, metadata)


def _ask_arrays_file(path: Path, pixels: npt.NDArray[np.uint8], _: ModelMetadata) -> Logits:
    return Model.open(path).logits(pixels)


def _ask_onnx(path: Path, pixels: npt.NDArray[np.uint8], _: ModelMetadata) -> Logits:
    return run_exported(path, pixels)


def _compute(weights: Mapping[str, npt.NDArray[Any]], pixels: npt.NDArray[np.uint8], about: ModelMetadata) -> Logits:
    return Model(about.model_dump(mode="json"), weights).logits(pixels)


_ANSWERS: Mapping[str, _Answer] = {
    "model.pth": _ask_torch_file,
    "model.safetensors": _ask_weights_file,
    "model.npz": _ask_arrays_file,
    "model.onnx": _ask_onnx,
}

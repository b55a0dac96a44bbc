"""Answers of an exported model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from core.domain.exports import FEATURE_MAPS, INPUT, LOGITS, PROBABILITIES, ModelMetadata
from core.errors import IntegrityError

# The bulk of the speed of larger batches, at little memory.
_IMAGES_OF_A_BATCH = 32
# The runtime's errors have no base of their own.
_LOAD_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
    runtime_errors.RuntimeException,
)


class Predictor:
    """A loaded model. It may be asked from several threads at once.

    Attributes:
        metadata: Class names and what images the model takes.
        size_bytes: Size of the model's file.
    """

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        """Load the model from the bytes of its file.

        Args:
            model: The bytes.
            threads: How many compute one answer.

        Raises:
            IntegrityError: It is not a model of this platform.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _LOAD_ERRORS as error:
            raise IntegrityError("The model cannot be read.") from error
        self.metadata = ModelMetadata.parse(self._session.get_modelmeta().custom_metadata_map)
        self.size_bytes = len(model)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Load the model at ``path``; errors as with its bytes."""
        return cls(path.read_bytes())

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names in the order of the probabilities."""
        return self.metadata.classes

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities ``(n, classes)`` for images ``(n, size, size, channels)``."""
        return self._answer(PROBABILITIES, images)

    def compute_logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return logits ``(n, classes)`` for images ``(n, size, size, channels)``."""
        return self._answer(LOGITS, images)

    def feature_maps(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """Return for each convolution its maps ``(n, filters, height, width)``, first to last."""
        names = [output.name for output in self._session.get_outputs() if output.name.startswith(FEATURE_MAPS)]
        return self._run(names, images)

    def _answer(self, output: str, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        parts = [
            self._run([output], images[start : start + _IMAGES_OF_A_BATCH])[0]
            for start in range(0, len(images), _IMAGES_OF_A_BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)

    def _run(self, outputs: Sequence[str], images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        results: list[npt.NDArray[np.float32]] = self._session.run(list(outputs), {INPUT: images})
        return results

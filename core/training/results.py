"""The files of a finished training."""

import csv
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.datasets.packs import Pack
from core.domain.architectures import layers
from core.domain.exports import TEST_PREDICTIONS, ModelMetadata
from core.domain.reports import MOST_MISTAKES, Mistake, Report, measure_classes
from core.domain.training_config import TrainingConfig
from core.training.contract import EpochResult, ResultFile
from core.training.engines import Arrays, Engine, Logits
from core.training.evaluation import Score, probabilities
from core.training.export import export_model, verify_export
from core.training.images import Positions, Split
from core.training.processor import name_processor
from core.training.test_predictions import write_test_predictions
from core.training.torch_file import write_torch_file
from core.training.weights_file import write_weights_file

# On how many images the exported model is compared with the trainer's own net.
_COMPARED = 64

_MEDIA_TYPES = {
    "model.pth": "application/octet-stream",
    "model.safetensors": "application/octet-stream",
    "model.onnx": "application/octet-stream",
    "config.json": "application/json",
    "history.csv": "text/csv",
    "report.json": "application/json",
    TEST_PREDICTIONS: "application/octet-stream",
}


@dataclass(frozen=True)
class Finished:
    """A training that has ended.

    Attributes:
        config: Settled.
        pack: The mapped dataset.
        fingerprint: The dataset's.
        split: Which images were for what.
        engine: With the weights that are kept.
        history: Every epoch.
    """

    config: TrainingConfig
    pack: Pack
    fingerprint: str
    split: Split
    engine: Engine
    history: Sequence[EpochResult]


def write_results(training: Finished, folder: Path, *, logits: Logits, test: Score | None) -> tuple[ResultFile, ...]:
    """Write every result into ``folder``.

    Args:
        training: What has ended.
        folder: Must exist.
        logits: The engine's answers to the test split ``(images, classes)``.
        test: Their score.

    Raises:
        TrainingError: ``export_mismatch``: the exported model answers otherwise than the engine.
    """
    files = {name: folder / name for name in _MEDIA_TYPES}
    weights = training.engine.weights()
    write_torch_file(files["model.pth"], weights)
    write_weights_file(files["model.safetensors"], weights, _metadata(training).properties())
    _write_model(training, weights, files["model.onnx"])
    precision = training.engine.choice.precision
    _write_json(files["config.json"], {**training.config.plain(), "precision": precision})
    _write_history(files["history.csv"], training.history)
    report = make_report(training.pack, training.split.test, logits, test, versions=_versions(training))
    _write_json(files["report.json"], report.model_dump(mode="json"))
    write_test_predictions(files[TEST_PREDICTIONS], training.pack, training.split.test, logits)
    return tuple(ResultFile(name, _MEDIA_TYPES[name], path) for name, path in files.items())


def make_report(
    pack: Pack, positions: Positions, logits: Logits, test: Score | None, *, versions: Mapping[str, str]
) -> Report:
    """Return the report on the answers ``logits`` ``(images, classes)`` to the images at ``positions``."""
    classes = len(pack.classes)
    truth, predicted = pack.labels[positions], logits.argmax(axis=1)
    confusion = np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes).tolist()
    return Report(
        accuracy=test and test.accuracy,
        loss=test and test.loss,
        classes=pack.classes,
        confusion_matrix=confusion,
        per_class=measure_classes(pack.classes, confusion),
        mistakes=list(_mistakes(pack, positions, probabilities(logits))),
        versions=dict(versions),
    )


def _mistakes(pack: Pack, positions: Positions, shares: npt.NDArray[np.float32]) -> Iterable[Mistake]:
    truth, predicted, sureness = pack.labels[positions], shares.argmax(axis=1), shares.max(axis=1, initial=0)
    wrong = np.flatnonzero(truth != predicted)
    for index in wrong[np.argsort(-sureness[wrong], kind="stable")][:MOST_MISTAKES]:
        yield Mistake(
            path=pack.image_path(int(positions[index])),
            true=pack.classes[truth[index]],
            predicted=pack.classes[predicted[index]],
            confidence=float(sureness[index]),
        )


def _write_model(training: Finished, weights: Arrays, path: Path) -> None:
    pack, config = training.pack, training.config
    network = layers(config, classes=len(pack.classes))
    path.write_bytes(export_model(network, weights, _metadata(training), channels=pack.channels))
    positions = (training.split.test if len(training.split.test) else training.split.train)[:_COMPARED]
    expected = training.engine.compute_logits(positions, lambda _: None)
    verify_export(path, np.take(pack.pixels, positions, axis=0), expected)


def _metadata(training: Finished) -> ModelMetadata:
    pack, config = training.pack, training.config
    return ModelMetadata(
        classes=pack.classes,
        image_size=pack.image_size,
        color_mode=pack.color_mode,
        architecture=config.architecture,
        provenance={
            **_versions(training),
            "seed": str(config.seed),
            "data": training.fingerprint,
            "precision": training.engine.choice.precision,
            "precision_reason": training.engine.choice.reason,
            "processor": name_processor(),
        },
    )


def _versions(training: Finished) -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **training.engine.versions,
        "numpy": np.__version__,
        "onnx": version("onnx"),
        "lenet-platform": version("lenet-platform"),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_history(path: Path, history: Iterable[EpochResult]) -> None:
    rows = [result.plain() for result in history]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)

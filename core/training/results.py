"""The files of a finished training."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from core.domain.architectures import layers
from core.domain.exports import TEST_PREDICTIONS, ModelMetadata
from core.domain.networks import describe_network
from core.reporting.golden import GOLDEN, Golden, choose_golden
from core.reporting.reports import Answers, make_report
from core.training.answers_file import write_test_predictions
from core.training.contract import EpochResult, ResultFile
from core.training.engines import Logits
from core.training.evaluation import Score, probabilities
from core.training.exports import TrainedNet, write_exports
from core.training.finished import Finished
from core.training.images import Positions
from core.training.provenance import describe_origin, list_versions

_BINARY = "application/octet-stream"
_MEDIA_TYPES = {
    "model.pth": _BINARY,
    "model.safetensors": _BINARY,
    "model.npz": _BINARY,
    "model.onnx": _BINARY,
    "config.json": "application/json",
    "history.csv": "text/csv",
    "report.json": "application/json",
    TEST_PREDICTIONS: "application/octet-stream",
}


def write_results(
    training: Finished,
    folder: Path,
    *,
    logits: Logits,
    validation: Logits,
    test: Score | None,
    on_progress: Callable[[], None],
) -> tuple[ResultFile, ...]:
    """Write every result into ``folder``, and there the golden images for who packs the results.

    Args:
        training: What has ended.
        folder: Must exist.
        logits: The engine's answers to the test split ``(images, classes)``.
        validation: Likewise to the validation split.
        test: The score of ``logits``.
        on_progress: Called now and then.

    Raises:
        TrainingError: ``export_mismatch``: an exported model answers otherwise than the engine.
    """
    origin = describe_origin(
        training.job,
        training.config,
        training.engine,
        fingerprint=training.fingerprint,
        initial_weights=training.initial_weights,
    )
    golden = _take_golden(training)
    golden.save(folder / GOLDEN)
    files = write_exports(_net(training, origin), folder, golden)
    files |= {name: folder / name for name in _MEDIA_TYPES if name not in files}
    _write_json(files["config.json"], {**training.config.plain(), "precision": training.engine.choice.precision})
    _write_history(files["history.csv"], training.history)
    split = training.split
    test_answers = _answers(split.test, logits)
    report = make_report(
        training.pack,
        test_answers,
        unlearnt={"validation": _answers(split.validation, validation), "test": test_answers},
        images={"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        loss=test.loss if test else None,
        versions=list_versions(training.engine),
        provenance=origin,
        on_progress=on_progress,
    )
    _write_json(files["report.json"], report.model_dump(mode="json"))
    archive = training.job.dataset.get("archive_sha256", "")
    write_test_predictions(files[TEST_PREDICTIONS], training.pack, split.test, logits, archive=archive)
    return tuple(ResultFile(name, _MEDIA_TYPES[name], path) for name, path in files.items())


def _net(training: Finished, origin: Mapping[str, str]) -> TrainedNet:
    pack, config = training.pack, training.config
    network = layers(config, classes=len(pack.classes))
    metadata = ModelMetadata(
        classes=pack.classes,
        image_size=pack.image_size,
        color_mode=pack.color_mode,
        architecture=config.architecture,
        layers=describe_network(network),
        provenance=dict(origin),
    )
    return TrainedNet(network, training.engine.weights(), metadata)


def _take_golden(training: Finished) -> Golden:
    """Return images that the net is asked once more, from the test split where there is one."""
    split = training.split
    positions = choose_golden(training.pack, split.test if len(split.test) else split.train)
    return Golden.take(training.pack, positions, training.engine.compute_logits(positions, lambda _: None))


def _answers(positions: Positions, logits: Logits) -> Answers:
    return Answers(positions, probabilities(logits))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_history(path: Path, history: Iterable[EpochResult]) -> None:
    rows = [result.plain() for result in history]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)

"""The evaluator process: ``python -m worker.evaluator``. It looks at a pack with an exported model, without torch.

It gets one line of JSON on its standard input and answers lines on its standard output: ``progress`` (the share that is
done, 0–1), and at the end ``result`` or ``failed``. It holds no credentials and knows no database.
"""

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.datasets.packs import Pack
from core.domain.datasets import SPLITS
from core.errors import IntegrityError, LenetError
from core.inference.predictor import Predictor
from core.reporting.reports import Answers, make_report
from core.training.evaluation import probabilities, score
from worker.trainer import isolate

_IMAGES_AT_ONCE = 1024


def main() -> None:
    """Evaluate what the line on the standard input asks for."""
    order = json.loads(sys.stdin.readline())
    isolate(order["nice"])
    try:
        result = evaluate(order)
    except LenetError as error:
        _say(failed={"code": error.code, "detail": error.detail})
    except MemoryError:
        _say(failed={"code": "out_of_memory", "detail": "The worker has too little memory for this evaluation."})
    else:
        _say(result=result)


def evaluate(order: dict[str, Any]) -> dict[str, Any]:
    """Write the report and return the figures: ``accuracy`` (0–1), ``loss`` (nats) and ``images``.

    Args:
        order: ``model``, ``pack`` and ``report`` are paths, ``part`` says which images, ``threads`` how many compute.

    Raises:
        IntegrityError: The model or the pack cannot be read, or are not of the same classes.
    """
    predictor = Predictor(Path(order["model"]).read_bytes(), threads=order["threads"])
    pack = Pack.open(Path(order["pack"]))
    if pack.classes != predictor.classes:
        raise IntegrityError("The dataset has other classes than the model.")
    parts = {split: pack.indices(split) for split in (SPLITS if order["part"] == "all" else (order["part"],))}
    positions = np.concatenate(list(parts.values()))
    logits = _compute_logits(predictor, pack, positions)
    found = score(logits, pack.labels[positions])
    answers = Answers(positions, probabilities(logits))
    report = make_report(
        pack,
        answers,
        unlearnt={split: answers.of(np.isin(positions, places)) for split, places in parts.items()},
        images={split: len(places) for split, places in parts.items()},
        loss=found.loss,
        versions=_versions(),
        provenance=predictor.metadata.provenance,
        learnt_from_pack=False,
    )
    Path(order["report"]).write_text(json.dumps(report.model_dump(mode="json"), ensure_ascii=False), encoding="utf-8")
    return {"accuracy": found.accuracy, "loss": found.loss, "images": len(positions)}


def _compute_logits(predictor: Predictor, pack: Pack, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    parts = []
    for start in range(0, len(positions), _IMAGES_AT_ONCE):
        parts.append(predictor.compute_logits(np.take(pack.pixels, positions[start : start + _IMAGES_AT_ONCE], axis=0)))
        _say(progress=min(1.0, (start + _IMAGES_AT_ONCE) / len(positions)))
    return np.concatenate(parts)


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": version("onnxruntime"),
        "lenet-platform": version("lenet-platform"),
    }


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

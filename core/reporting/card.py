"""The texts that travel with a model: a card for whoever decides about its use, and a page for whoever runs it.

Mitchell and others: Model cards for model reporting (2019), section 4, says what a card has to tell.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.domain.reports import MOST_SUSPICIONS, Report
from core.reporting.figures import shorten
from core.reporting.plots import Leavings

_CLASSES_TOLD, _WORST_TOLD, _LONGEST = 60, 5, 200
# What of a config a reader asks for first.
_OPTIONS = (
    *("preset", "engine", "epochs", "batch_size", "optimizer", "scheduler", "loss", "augmentation", "normalize"),
    *("sampling", "validation", "early_stopping", "ema", "seed", "deterministic", "precision"),
)


def write_card(left: Leavings) -> str:
    """Return the model card, in Markdown."""
    report, about = left.report, left.model.about
    parts = [
        f"# Model card: {about['architecture']} for {len(report.classes)} classes",
        _introduce(left),
        "## How good it is",
        _tell_accuracy(report),
        *(["### The classes that it finds worst", _tell_worst(report)] if report.averages else []),
        "## What to mind",
        _list(_warn(report)),
        "## How it was trained",
        _table(("option", "value"), _options(report)),
        "## What it was made of and with",
        "Equal values here make equal weights, to the bit, wherever the training is deterministic.",
        _table(("what", "value"), [(name, value) for name, value in report.provenance.items() if name != "config"]),
    ]
    return "\n\n".join(parts) + "\n"


def write_readme(left: Leavings) -> str:
    """Return the page that says what each file is and how it is used, in Markdown."""
    about, report = left.model.about, left.report
    return _README.format(
        architecture=about["architecture"],
        count=len(report.classes),
        size=left.model.image_size,
        color="red, green and blue" if left.model.color_mode == "rgb" else "gray",
        golden=len(left.golden.pixels),
        maps=len(left.model.feature_maps(left.golden.pixels[:1])),
    )


def _introduce(left: Leavings) -> str:
    model, images = left.model, left.report.images
    names = ", ".join(_code(name) for name in model.classes[:_CLASSES_TOLD])
    more = f" and {len(model.classes) - _CLASSES_TOLD:,} more" if len(model.classes) > _CLASSES_TOLD else ""
    kind = "coloured" if model.color_mode == "rgb" else "gray"
    counts = ", ".join(f"{images[split]:,} for {split}" for split in ("train", "validation", "test"))
    return (
        f"It takes an image, brings it to {model.image_size}×{model.image_size} {kind} pixels, and says how probable "
        f"each class is.\n\nClasses: {names}{more}.\n\nImages of its dataset: {counts}."
    )


def _tell_accuracy(report: Report) -> str:
    if report.accuracy is None:
        return "Nobody knows: its dataset has no test images."
    rows = [("accuracy", f"{report.accuracy:.2%}")]
    rows += [
        (f"the class is among the {top.k} most probable", f"{top.accuracy:.2%}") for top in report.top_accuracy[1:]
    ]
    if report.leaked_images and report.accuracy_without_leaks is not None:
        rows.append(
            (
                f"accuracy without {report.leaked_images:,} images that stand in the training split too",
                f"{report.accuracy_without_leaks:.2%}",
            )
        )
    if report.averages:
        rows.append(("mean F1 of the classes", f"{report.averages.f1:.3f}"))
    rows += [("mean cross-entropy", f"{report.loss:.4f}"), ("calibration error", f"{report.calibration_error:.4f}")]
    return f"On {report.images.get('test', 0):,} test images, looked at once, at the end:\n\n" + _table(
        ("figure", "value"), rows
    )


def _tell_worst(report: Report) -> str:
    own = sorted((one for one in report.per_class if one.support), key=lambda one: one.f1)[:_WORST_TOLD]
    rows = [
        (_code(one.class_name), f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}", f"{one.support:,}")
        for one in own
    ]
    return _table(("class", "precision", "recall", "F1", "test images"), rows)


def _warn(report: Report) -> Iterable[str]:
    yield "It knows its classes only: an image of anything else gets one of them, maybe with high confidence."
    yield "It has seen images like those of its dataset. On others, measure it before you trust it."
    if report.accuracy is None:
        yield "Without test images nothing is known of its accuracy."
    if report.leaked_images:
        yield f"{report.leaked_images:,} test images stand in the training split too, pixel for pixel."
    if report.label_suspicions:
        count = f"{len(report.label_suspicions):,}"
        if len(report.label_suspicions) == MOST_SUSPICIONS:
            count += " or more"
        yield f"{count} labels of validation and test images look wrong; `report.json` lists them."
    few = [one.class_name for one in report.per_class if report.accuracy is not None and one.support < 20]
    if few:
        yield f"{len(few):,} classes have fewer than 20 test images: their figures are rough."


def _options(report: Report) -> list[tuple[str, str]]:
    config: Mapping[str, Any] = json.loads(report.provenance["config"])
    return [(name, _code(json.dumps(config[name], ensure_ascii=False))) for name in _OPTIONS if name in config]


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    """Return a text that is shown as it is, for a class may be called anything; a long one is cut."""
    return f"`{shorten(text, _LONGEST).replace('`', chr(0x2BB))}`"


_README = """\
# {architecture} for {count} classes

`MODEL_CARD.md` says how good it is and what to mind. This page says how to use it.

## Predict

```shell
python -m pip install numpy pillow
python predict.py picture.jpg folder/
python predict.py --json picture.jpg
```

`predict.py` needs nothing else and can be copied with `model.npz` alone. `--json` prints a list of `filename`, `class`
and `confidence` (0-1) in the order given; of a folder it takes every image below it, in the order of their names.

## The files

| file | what it is |
| --- | --- |
| `model.onnx` | the whole model, preprocessing included, for ONNX Runtime and its like |
| `model.npz` | weights by name and, under `metadata`, the layers as JSON: what `predict.py` reads |
| `model.safetensors` | the same weights; the header says the same of the model |
| `model.pth` | the same weights as a plain `state_dict`: `torch.load("model.pth", weights_only=True)` |
| `classes.json` | class names in the order of the answers |
| `report.json`, `history.csv`, `config.json` | figures of the test, of every epoch, and every option of the training |
| `plots/` | the same as pictures |
| `golden/` | {golden} images, and in `expected.json` what the trained net answered to each |
| `provenance.json` | data, code, versions and seed that it was made of, and the SHA-256 of each file |

Every file of the model was loaded again after it had been written, and gave the trained net's logits for the golden
images within 0.0001. Check a reader of your own in the same way.

## model.onnx

Input `image`: uint8, `(batch, {size}, {size}, channels)`, 1 channel (gray) or 3 (red, green, blue) in 0-255, any batch.
All else is in the graph: images of the other kind are made {color}, as Pillow makes them, then come the scaling of
pixels and the softmax. Outputs: `logits` and `probabilities`, `(batch, {count})`, and `feature_maps_1` to
`feature_maps_{maps}`, what each convolution sees, `(batch, filters, height, width)`.

```python
import numpy, onnxruntime
from PIL import Image

image = Image.open("golden/00.png")  # already {size}×{size}
pixels = numpy.asarray(image).reshape(1, {size}, {size}, -1)
session = onnxruntime.InferenceSession("model.onnx")
(probabilities,) = session.run(["probabilities"], {{"image": pixels}})
```

Other images are first turned upright by their EXIF block, laid over white where they are transparent, made {color},
and resized to {size}×{size} by Pillow's bilinear filter: `read_image` in `predict.py` does it.
"""

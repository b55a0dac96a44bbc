"""The report on a model's answers to images that it was not trained on."""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.datasets.packs import Pack
from core.domain.datasets import Split
from core.domain.reports import (
    MOST_MISTAKES,
    MOST_SUSPICIONS,
    MOST_THUMBNAILS,
    THUMBNAIL_SIDE,
    TOP_K,
    LabelSuspicion,
    Mistake,
    Report,
    TopAccuracy,
    average_classes,
    measure_classes,
)
from core.reporting.calibration import calibration_error, fill_bins
from core.reporting.golden import encode_png
from core.reporting.labels import find_suspicions
from core.reporting.leaks import find_leaks

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """A model's answers.

    Attributes:
        positions: Of the images in the pack ``(images,)``.
        shares: Probabilities ``(images, classes)``.
    """

    positions: Positions
    shares: npt.NDArray[np.floating]

    def of(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """Return the answers to those of its images that ``chosen`` ``(images,)`` names."""
        return replace(self, positions=self.positions[chosen], shares=self.shares[chosen])


def make_report(
    pack: Pack,
    answers: Answers,
    *,
    unlearnt: Mapping[Split, Answers],
    images: Mapping[Split, int],
    loss: float | None,
    versions: Mapping[str, str],
    provenance: Mapping[str, str],
    learnt_from_pack: bool = True,
    on_progress: Callable[[], None] = lambda: None,
) -> Report:
    """Return the report.

    Args:
        pack: The dataset.
        answers: What the figures are of: in a training those to the test split, maybe of no image.
        unlearnt: Answers to every image that is at hand and that nothing was learnt from, by split: labels among them
            may look wrong.
        images: How many images of each split the report rests on.
        loss: Mean cross-entropy of ``answers`` in nats.
        versions: Of what trained.
        provenance: What the model was made of and with.
        learnt_from_pack: Whether it was trained on the pack's training split, whose images are leaks elsewhere. If
            not, which images are leaks is not known.
        on_progress: Called now and then: many images take their time.
    """
    classes = len(pack.classes)
    truth, predicted = pack.labels[answers.positions], answers.shares.argmax(axis=1)
    right = predicted == truth
    confusion = np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes).tolist()
    measures = measure_classes(pack.classes, confusion)
    bins = fill_bins(answers.shares.max(axis=1, initial=0), right)
    leaked = find_leaks(pack, answers.positions, on_progress=on_progress) if learnt_from_pack else None
    return Report(
        accuracy=_mean(right),
        loss=loss,
        classes=pack.classes,
        confusion_matrix=confusion,
        per_class=measures,
        mistakes=list(_list_mistakes(pack, answers)),
        versions=dict(versions),
        averages=average_classes(measures),
        top_accuracy=list(_measure_top(answers.shares, truth)),
        calibration_error=calibration_error(bins),
        calibration=bins,
        leaked_images=None if leaked is None else int(leaked.sum()),
        accuracy_without_leaks=None if leaked is None else _mean(right[~leaked]),
        label_suspicions=list(_list_suspicions(pack, unlearnt)),
        provenance=dict(provenance),
        images=dict(images),
    )


def make_thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """Return an image, uint8 ``(size, size, channels)``, as a ``data:`` URI of a PNG of at most 64 pixels a side."""
    if len(pixels) > THUMBNAIL_SIDE:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        small = image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
        pixels = np.asarray(small).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE, -1)
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()


def read_thumbnail(thumbnail: str) -> bytes:
    """Return the PNG file that `make_thumbnail` wrote."""
    return base64.b64decode(thumbnail.partition(",")[2])


def _mean(right: npt.NDArray[np.bool_]) -> float | None:
    return float(right.mean()) if len(right) else None


def _measure_top(shares: npt.NDArray[np.floating], truth: npt.NDArray[np.int32]) -> Iterable[TopAccuracy]:
    if not len(truth):
        return
    order = np.argsort(-shares, axis=1, kind="stable")[:, : max(TOP_K)]
    for k in TOP_K:
        if k < shares.shape[1]:
            yield TopAccuracy(k=k, accuracy=float((order[:, :k] == truth[:, None]).any(axis=1).mean()))


def _list_mistakes(pack: Pack, answers: Answers) -> Iterable[Mistake]:
    """Yield the mistakes, the surest first."""
    truth, predicted = pack.labels[answers.positions], answers.shares.argmax(axis=1)
    sureness = answers.shares.max(axis=1, initial=0)
    wrong = np.flatnonzero(truth != predicted)
    for place, index in enumerate(wrong[np.argsort(-sureness[wrong], kind="stable")][:MOST_MISTAKES]):
        position = int(answers.positions[index])
        yield Mistake(
            path=pack.image_path(position),
            true=pack.classes[truth[index]],
            predicted=pack.classes[predicted[index]],
            confidence=float(sureness[index]),
            thumbnail=make_thumbnail(pack.pixels[position]) if place < MOST_THUMBNAILS else None,
        )


def _list_suspicions(pack: Pack, parts: Mapping[Split, Answers]) -> Iterable[LabelSuspicion]:
    positions = np.concatenate([part.positions for part in parts.values()])
    splits = [name for name, part in parts.items() for _ in part.positions]
    shares = np.concatenate([part.shares for part in parts.values()])
    labels = pack.labels[positions]
    found = find_suspicions(shares, labels)
    for place, (index, suggested) in enumerate(found[:MOST_SUSPICIONS]):
        position = int(positions[index])
        yield LabelSuspicion(
            path=pack.image_path(position),
            split=splits[index],
            label=pack.classes[labels[index]],
            suggested=pack.classes[suggested],
            confidence=float(shares[index, suggested]),
            label_probability=float(shares[index, labels[index]]),
            thumbnail=make_thumbnail(pack.pixels[position]) if place < MOST_THUMBNAILS else None,
        )

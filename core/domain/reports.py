"""The report on a trained model: what ``report.json`` holds and ``GET /jobs/{id}/report`` answers."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class ClassMetrics(_Value):
    """How well one class is found. A figure that would divide by nothing is 0."""

    class_name: str = Field(alias="class")
    precision: float
    recall: float
    f1: float
    support: int


class Averages(_Value):
    """Plain means of the classes' figures, over the classes that have test images: each counts alike."""

    precision: float
    recall: float
    f1: float


class TopAccuracy(_Value):
    """The share of images whose class is among the ``k`` most probable ones, 0–1."""

    k: int
    accuracy: float


class Mistake(_Value):
    """A test image that was taken for another class, and how sure the model was.

    ``thumbnail`` is the image as the model saw it, as a ``data:`` URI of a PNG; the first mistakes have one.
    """

    path: str
    true: str
    predicted: str
    confidence: float
    thumbnail: str | None = None


class LabelSuspicion(_Value):
    """An image whose label is likely wrong: ``confidence`` is the probability of ``suggested``, 0–1."""

    path: str
    split: Literal["validation", "test"]
    label: str
    suggested: str
    confidence: float
    label_probability: float
    thumbnail: str | None = None


class ConfidenceBin(_Value):
    """Images of which the model was about equally sure: how sure on the mean, and how often it was right."""

    images: int
    confidence: float
    accuracy: float


class Report(_Value):
    """Figures of the test split; ``None`` where the dataset has no test images.

    Attributes:
        accuracy: Share of right answers, 0–1.
        loss: Mean cross-entropy in nats.
        classes: Class names in index order.
        confusion_matrix: Counts; rows true, columns predicted.
        per_class: In index order.
        mistakes: The surest first; at most `MOST_MISTAKES`.
        versions: Of what trained.
        averages: Of ``per_class``.
        top_accuracy: For each ``k`` of `TOP_K` that is smaller than the number of classes.
        calibration_error: Expected calibration error, 0–1, over `CALIBRATION_BINS` bins of equal width: the mean
            distance of confidence from accuracy (Guo, Pleiss, Sun, Weinberger: On calibration of modern neural
            networks, 2017, equation 3).
        calibration: Those bins that have images, by rising confidence.
        leaked_images: Test images whose pixels stand in the training split too, as the model sees them; ``None`` where
            the images that were learnt from are not at hand, as in an evaluation elsewhere.
        accuracy_without_leaks: Share of right answers among the others; ``None`` where none are left or known.
        label_suspicions: Images of validation and test, from which no weight was learnt, that another class claims
            with more confidence than its own images have on the mean: the most suspicious first, at most
            `MOST_SUSPICIONS`. By confident learning (Northcutt, Jiang, Chuang: Confident learning: estimating
            uncertainty in dataset labels, 2021, section 3.1).
        provenance: What the model was made of and with, by name.
        images: How many images each split gave: ``train`` those that were learnt from.
    """

    accuracy: float | None
    loss: float | None
    classes: tuple[str, ...]
    confusion_matrix: list[list[int]]
    per_class: list[ClassMetrics]
    mistakes: list[Mistake]
    versions: dict[str, str]
    averages: Averages | None = None
    top_accuracy: list[TopAccuracy] = []
    calibration_error: float | None = None
    calibration: list[ConfidenceBin] = []
    leaked_images: int | None = None
    accuracy_without_leaks: float | None = None
    label_suspicions: list[LabelSuspicion] = []
    provenance: dict[str, str] = {}
    images: dict[str, int] = {}


MOST_MISTAKES = 500
MOST_SUSPICIONS = 100
MOST_THUMBNAILS = 48
"""Pictures among the mistakes, and among the suspicions: more would make the report slow to load."""
THUMBNAIL_SIDE = 64
TOP_K = (1, 3, 5)
CALIBRATION_BINS = 15


def measure_classes(classes: Sequence[str], confusion_matrix: Sequence[Sequence[int]]) -> list[ClassMetrics]:
    """Return precision, recall and F1 of each class from the confusion matrix (rows true, columns predicted)."""
    predicted = [sum(column) for column in zip(*confusion_matrix, strict=True)]
    return [
        _measure(name, right=row[index], predicted=predicted[index], support=sum(row))
        for index, (name, row) in enumerate(zip(classes, confusion_matrix, strict=True))
    ]


def average_classes(measures: Sequence[ClassMetrics]) -> Averages | None:
    """Return the means over the classes that have images, or ``None`` where none has."""
    own = [one for one in measures if one.support]
    if not own:
        return None
    return Averages(
        precision=fmean(one.precision for one in own),
        recall=fmean(one.recall for one in own),
        f1=fmean(one.f1 for one in own),
    )


def _measure(name: str, *, right: int, predicted: int, support: int) -> ClassMetrics:
    return ClassMetrics(
        class_name=name,
        precision=right / predicted if predicted else 0.0,
        recall=right / support if support else 0.0,
        f1=2 * right / (predicted + support) if predicted + support else 0.0,
        support=support,
    )

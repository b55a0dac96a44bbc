"""The report on a trained model: what ``report.json`` holds and ``GET /jobs/{id}/report`` answers."""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field

from core.domain.datasets import Split


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
    split: Split
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
    """Figures of the test split, or of what an evaluation looked at; ``None`` where the dataset has no such images."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    accuracy: float | None
    """Share of right answers, 0–1."""
    loss: float | None
    """Mean cross-entropy in nats."""
    classes: tuple[str, ...]
    """Class names in index order."""
    confusion_matrix: list[list[int]]
    """Counts; rows true, columns predicted."""
    per_class: list[ClassMetrics]
    """In index order."""
    mistakes: list[Mistake]
    """The surest first; at most 500."""
    versions: dict[str, str]
    """Of what trained."""
    averages: Averages | None = None
    """Of `per_class`."""
    top_accuracy: list[TopAccuracy] = []
    """For each `k` of 1, 3 and 5 that is smaller than the number of classes."""
    calibration_error: float | None = None
    """Expected calibration error, 0–1, over 15 bins of equal width: the mean distance of confidence from accuracy (Guo,
    Pleiss, Sun, Weinberger: On calibration of modern neural networks, 2017, equation 3)."""
    calibration: list[ConfidenceBin] = []
    """Those bins that have images, by rising confidence."""
    leaked_images: int | None = None
    """Test images whose pixels stand in the training split too, as the model sees them; null where the images that were
    learnt from are not at hand, as in an evaluation elsewhere."""
    accuracy_without_leaks: float | None = None
    """Share of right answers among the others; null where none are left or known."""
    label_suspicions: list[LabelSuspicion] = []
    """Images from which no weight was learnt (validation and test, or what an evaluation looked at) that another class
    claims with more confidence than its own images have on the mean: the most suspicious first, at most 100. By
    confident learning (Northcutt, Jiang, Chuang: Confident learning: estimating uncertainty in dataset labels, 2021,
    section 3.1)."""
    provenance: dict[str, str] = {}
    """What the model was made of and with, by name."""
    images: dict[str, int] = {}
    """How many images of each split it rests on. Of a job, `train` are those that were learnt from; an evaluation names
    only the splits that it looked at."""


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

"""The report on a trained model: what ``report.json`` holds and ``GET /jobs/{id}/report`` answers."""

from collections.abc import Sequence

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


class Mistake(_Value):
    """A test image that was taken for another class, and how sure the model was."""

    path: str
    true: str
    predicted: str
    confidence: float


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
    """

    accuracy: float | None
    loss: float | None
    classes: tuple[str, ...]
    confusion_matrix: list[list[int]]
    per_class: list[ClassMetrics]
    mistakes: list[Mistake]
    versions: dict[str, str]


MOST_MISTAKES = 500


def measure_classes(classes: Sequence[str], confusion_matrix: Sequence[Sequence[int]]) -> list[ClassMetrics]:
    """Return precision, recall and F1 of each class from the confusion matrix (rows true, columns predicted)."""
    predicted = [sum(column) for column in zip(*confusion_matrix, strict=True)]
    return [
        _measure(name, right=row[index], predicted=predicted[index], support=sum(row))
        for index, (name, row) in enumerate(zip(classes, confusion_matrix, strict=True))
    ]


def _measure(name: str, *, right: int, predicted: int, support: int) -> ClassMetrics:
    return ClassMetrics(
        class_name=name,
        precision=right / predicted if predicted else 0.0,
        recall=right / support if support else 0.0,
        f1=2 * right / (predicted + support) if predicted + support else 0.0,
        support=support,
    )

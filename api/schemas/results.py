"""What a job that succeeded gives: artifacts and predictions. The report's shape is `core.domain.reports`."""

from typing import Annotated

from pydantic import Field

from api.schemas.base import Query, Shape
from core.db.rows import ArtifactRow
from core.inference.ensembles import VotedPrediction
from core.inference.predictions import Prediction


class PredictQuery(Query):
    """How much of a prediction is answered."""

    top_k: Annotated[int, Field(ge=1, le=1000, description="The most probable classes of each image.")] = 5


class Artifact(Shape):
    """One file of a job that succeeded."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str


class Predictions(Shape):
    """Predictions in the order in which the images were sent."""

    predictions: list[Prediction]


class NamedPredictions(Shape):
    """Predictions by a version of a named model; `votes` and `agreement` where that is an ensemble."""

    predictions: list[Prediction | VotedPrediction]


def shape_artifact(row: ArtifactRow) -> Artifact:
    """Return an artifact as answers show it."""
    return Artifact(name=row.name, media_type=row.media_type, size_bytes=row.size_bytes, sha256=row.sha256)

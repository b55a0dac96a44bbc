"""Every plot of a finished training, from the files that it left."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from core.domain.plots import PlotName
from core.domain.reports import Report
from core.portable.predict import Model
from core.reporting.confusion_plot import draw_confusion_matrix
from core.reporting.figures import encode_figure, styled
from core.reporting.gallery_plots import Shown, draw_mistakes, draw_predictions
from core.reporting.golden import Golden
from core.reporting.history_plot import draw_history
from core.reporting.map_plots import draw_feature_maps, draw_filters
from core.reporting.reports import read_thumbnail


@dataclass(frozen=True)
class Leavings:
    """What a finished training left, read back: its report, the net, the golden images and every epoch."""

    report: Report
    model: Model
    golden: Golden
    epochs: list[dict[str, Any]]

    @property
    def shown(self) -> list[Shown]:
        """Return the golden images with what the net says of them."""
        classes, shares = self.report.classes, self.golden.probabilities
        return [
            Shown(pixels, classes[label], classes[int(row.argmax())], float(row.max()))
            for pixels, label, row in zip(self.golden.pixels, self.golden.labels, shares, strict=True)
        ]


def draw_plots(left: Leavings) -> Iterator[tuple[PlotName, bytes]]:
    """Yield each plot's name and PNG file."""
    about = {"Description": f"data {left.report.provenance['data']}, code {left.report.provenance['code']}"}
    with styled():
        for name, figure in draw_figures(left):
            yield name, encode_figure(figure, about)


def draw_figures(left: Leavings) -> Iterator[tuple[PlotName, Figure]]:
    """Yield each plot's name and figure; to be asked within `styled`."""
    report, model = left.report, left.model
    test_images = report.images.get("test", 0)
    yield "history", draw_history(left.epochs, title=f"Training of {model.about['architecture']}")
    yield "confusion_matrix", draw_confusion_matrix(report.confusion_matrix, report.classes)
    yield "predictions", draw_predictions(left.shown)
    yield "mistakes", draw_mistakes(_worst(report), mistakes=_count_mistakes(report), images=test_images)
    yield "filters", draw_filters(*model.first_filters())
    yield "feature_maps", _draw_maps(left)


def _worst(report: Report) -> list[Shown]:
    return [
        Shown(_decode(one.thumbnail), one.true, one.predicted, one.confidence)
        for one in report.mistakes
        if one.thumbnail is not None
    ]


def _count_mistakes(report: Report) -> int:
    counts = np.array(report.confusion_matrix)
    return int(counts.sum() - np.trace(counts))


def _decode(thumbnail: str) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(read_thumbnail(thumbnail)), formats=("PNG",)) as image:
        pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def _draw_maps(left: Leavings) -> Figure:
    maps = [part[0] for part in left.model.feature_maps(left.golden.pixels[:1])]
    shown = left.shown[0]
    note = (
        f"An image of {shown.true}, taken for {shown.predicted}; each map from its least value, black, to its greatest"
    )
    return draw_feature_maps(left.golden.pixels[0], maps, title="Feature maps", note=note)


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Return the epochs of a ``history.csv``; a figure that is not there is ``None``."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_parse(row) for row in csv.DictReader(file)]


def _parse(row: Mapping[str, str]) -> dict[str, Any]:
    figures = {name: float(text) if text else None for name, text in row.items() if name != "finished_at"}
    return {**figures, "epoch": int(row["epoch"])}

"""Plots that show images with what the model says of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.reporting.figures import RIGHT, WRONG, add_axes, add_title, fit, make_figure, show_image

_COLUMNS, _MOST = 8, 32
_PICTURE, _TEXT, _GAP = 1.15, 0.42, 0.12
_TOP, _MARGIN = 0.75, 0.15
_FONT = 8


@dataclass(frozen=True)
class Shown:
    """An image, uint8 ``(height, width, channels)``, its class, what the model takes it for and how surely (0–1)."""

    pixels: npt.NDArray[np.uint8]
    true: str
    predicted: str
    confidence: float


def draw_predictions(shown: Sequence[Shown]) -> Figure:
    """Return the plot of some images with their predictions, right ones green and wrong ones red."""
    right = sum(one.true == one.predicted for one in shown)
    return _draw("Predictions", f"{right} of these {len(shown)} images are right", shown[:_MOST])


def draw_mistakes(shown: Sequence[Shown], *, mistakes: int, images: int) -> Figure:
    """Return the plot of the worst mistakes, the surest first.

    Args:
        shown: The worst ones.
        mistakes: How many there are in all.
        images: Of how many test images.
    """
    if not images:
        return _draw("Mistakes", "There are no test images.", ())
    if not mistakes:
        return _draw("Mistakes", f"None in {images:,} test images.", ())
    few = shown[:_MOST]
    which = f"the {len(few)} surest ones" if len(few) < mistakes else "the surest first"
    note = f"{mistakes:,} of {images:,} test images, {mistakes / images:.2%}; {which}"
    return _draw("Mistakes", note, few)


def _draw(title: str, note: str, shown: Sequence[Shown]) -> Figure:
    columns = max(min(_COLUMNS, len(shown)), 4)
    rows = -(-len(shown) // columns)
    width = 2 * _MARGIN + columns * (_PICTURE + _GAP) - _GAP
    figure = make_figure(max(width, 6.0), _TOP + max(rows, 1) * (_PICTURE + _TEXT) + _MARGIN)
    add_title(figure, title, note)
    if shown:
        _fill(figure, shown, columns=columns, rows=rows)
    return figure


def _fill(figure: Figure, shown: Sequence[Shown], *, columns: int, rows: int) -> None:
    """Put all images into one pair of axes, whose unit is the inch: axes for each would take a second."""
    width, height = columns * (_PICTURE + _GAP) - _GAP, rows * (_PICTURE + _TEXT)
    axes = add_axes(figure, left=_MARGIN, top=_TOP, width=width, height=height)
    for number, one in enumerate(shown):
        left, top = number % columns * (_PICTURE + _GAP), number // columns * (_PICTURE + _TEXT)
        _show(axes, one, left=left, top=top)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()


def _show(axes: Axes, one: Shown, *, left: float, top: float) -> None:
    gray = one.pixels.shape[2] == 1
    pixels = one.pixels[..., 0] / 255 if gray else one.pixels
    show_image(axes, pixels, extent=(left, left + _PICTURE, top + _PICTURE, top))
    right = one.true == one.predicted
    share = f"{one.confidence:.1%}"
    says = fit(one.predicted, _PICTURE - 0.5, _FONT)
    middle = left + _PICTURE / 2
    axes.text(
        middle, top + _PICTURE + 0.04, f"{says}  {share}", fontsize=_FONT, ha="center", va="top",
        color=RIGHT if right else WRONG, fontweight="bold",
    )  # fmt: skip
    if not right:
        truth = f"is {fit(one.true, _PICTURE - 0.1, _FONT)}"
        axes.text(middle, top + _PICTURE + 0.2, truth, fontsize=_FONT, ha="center", va="top")

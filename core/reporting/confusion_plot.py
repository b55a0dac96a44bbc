"""The plot of a confusion matrix, readable from 2 classes to some hundreds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.reporting.figures import GRAY, INK, PALE, add_axes, add_title, fit, make_figure, text_inches

_LIST_WIDTH, _PAIRS_LISTED = 3.6, 40
_LONGEST_NAME = 1.7
_TOP, _GAP, _LINE = 0.85, 0.06, 0.17
# From this side on, in inches, what stands beside the matrix grows with it, to be read where all is shown small.
_USUAL_SIDE, _MOST_GROWTH = 10.0, 2.2


@dataclass(frozen=True)
class _Form:
    """The side of a cell in inches, the size of names in points, and that of counts; 0 for none."""

    classes: int
    cell: float
    name_size: float
    count_size: float


_FORMS = (
    _Form(classes=4, cell=0.95, name_size=10, count_size=12),
    _Form(classes=12, cell=0.55, name_size=9, count_size=9),
    _Form(classes=30, cell=0.36, name_size=8, count_size=6.5),
    _Form(classes=60, cell=0.2, name_size=7, count_size=0),
    _Form(classes=260, cell=0.115, name_size=6, count_size=0),
)
# More names than that would need a picture that few programs open: the list beside the matrix still has them.
_MOST_SIDE = 30.0
_MOST_LINED = 60


def draw_confusion_matrix(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Return the plot of counts, rows true and columns predicted: right answers blue, wrong ones red.

    Each cell is as dark as its share of its row; the two colours have scales of their own, so that the few mistakes of
    a good model show. Beside it stand the most frequent confusions by name.
    """
    counts = np.array(matrix, np.int64).reshape(len(classes), len(classes))
    form = _choose_form(len(classes))
    names = [fit(name, _LONGEST_NAME, form.name_size) for name in classes] if form.name_size else [""]
    margin = 0.45 + max(text_inches(name, form.name_size) for name in names)
    side = form.cell * len(classes)
    growth = min(max(side / _USUAL_SIDE, 1.0), _MOST_GROWTH)
    top = _TOP * growth
    below = margin if _turns(names, form) else 0.6
    width = margin + side + 0.4 + _LIST_WIDTH * growth
    figure = make_figure(width, max(top + side + below, 3.2))
    add_title(figure, "Confusion matrix", _summarize(counts), growth=growth)
    axes = add_axes(figure, left=margin, top=top, width=side, height=side)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    _fill(axes, shares)
    _write_names(axes, names, form, count=len(classes))
    if form.count_size:
        _write_counts(axes, counts, shares, form)
    _list_pairs(figure, counts, classes, left=margin + side + 0.4, growth=growth)
    return figure


def _choose_form(classes: int) -> _Form:
    crowd = _Form(classes=classes, cell=_MOST_SIDE / classes, name_size=0, count_size=0)
    return next((form for form in _FORMS if classes <= form.classes), crowd)


def _summarize(counts: npt.NDArray[np.int64]) -> str:
    total, right = int(counts.sum()), int(np.trace(counts))
    return f"{right:,} of {total:,} test images right, {right / total:.2%}" if total else "There are no test images."


def _turns(names: Sequence[str], form: _Form) -> bool:
    """Return whether the names beneath the columns are too broad to stand upright."""
    return max(text_inches(name, form.name_size) for name in names) > form.cell - 0.05


def _fill(axes: Axes, shares: npt.NDArray[np.float64]) -> None:
    diagonal = np.eye(len(shares), dtype=bool)
    most = shares[~diagonal].max(initial=0.0) or 1.0
    right = mpl.colormaps["Blues"](shares / 1.25)
    wrong = mpl.colormaps["Reds"](0.2 + 0.6 * np.sqrt(shares / most))
    cells = np.where(diagonal[..., None], right, np.where(shares[..., None] > 0, wrong, 1.0))
    axes.imshow(cells[..., :3], aspect="equal", interpolation="nearest")
    if len(shares) <= _MOST_LINED:
        borders = np.arange(1, len(shares)) - 0.5
        axes.hlines(borders, -0.5, len(shares) - 0.5, color=PALE, lw=0.5)
        axes.vlines(borders, -0.5, len(shares) - 0.5, color=PALE, lw=0.5)


def _write_names(axes: Axes, names: Sequence[str], form: _Form, *, count: int) -> None:
    """Write the names as plain text: hundreds of ticks would take seconds."""
    gap, turned = _GAP / form.cell, _turns(names, form)
    for place, name in enumerate(names):
        axes.text(-0.5 - gap, place, name, fontsize=form.name_size, ha="right", va="center")
        axes.text(
            place, count - 0.5 + gap, name, fontsize=form.name_size, ha="center", va="top", rotation=90 if turned else 0
        )
    reach = max(text_inches(name, form.name_size) for name in names) / form.cell + 2 * gap
    below = reach if turned else 0.25 / form.cell
    middle, size = (count - 1) / 2, (form.name_size or 8) + 1
    axes.text(middle, count - 0.5 + below, "predicted", fontsize=size, ha="center", va="top", color=GRAY)
    axes.text(-0.5 - reach, middle, "true", fontsize=size, ha="right", va="center", color=GRAY, rotation=90)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _write_counts(axes: Axes, counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], form: _Form) -> None:
    most = shares[~np.eye(len(shares), dtype=bool)].max(initial=0.0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = 0.6 if row == column else 0.6 * most
        color = "white" if shares[row, column] > dark else INK
        text = f"{counts[row, column]:,}" if counts[row, column] < 10_000 else f"{counts[row, column] / 1000:.0f}k"
        axes.text(column, row, text, ha="center", va="center", fontsize=form.count_size, color=color)


def _list_pairs(
    figure: Figure, counts: npt.NDArray[np.int64], classes: Sequence[str], *, left: float, growth: float
) -> None:
    """Write the most frequent confusions; names alone stay readable where cells are small."""
    width, height = figure.get_size_inches()
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    most = min(_PAIRS_LISTED, int((height / growth - 1.4) / _LINE))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [pair for pair in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[pair]]
    numbers = "\n".join(f"{wrong[pair]:,}" for pair in pairs)
    names = "\n".join(f"{fit(classes[row], 1.3, 8)} → {fit(classes[column], 1.3, 8)}" for row, column in pairs)

    def write(right: float, down: float, text: str, **style: Any) -> None:
        at = (left + growth * right) / width, 1 - growth * down / height
        figure.text(*at, text, va="top", **{"fontsize": 8 * growth, "linespacing": 1.35, **style})

    write(0, 0.85, "Most frequent confusions", fontsize=9 * growth, fontweight="bold")
    write(0, 1.08, "images  true → predicted", color=GRAY)
    write(0.35, 1.3, numbers, ha="right")
    write(0.47, 1.3, names or "none")

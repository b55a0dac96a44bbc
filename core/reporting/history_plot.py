"""The plot of a training's epochs: loss, accuracy and learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from core.reporting.figures import FAINT, INK, TRAIN, VALIDATION, add_axes, add_title, make_figure

_WIDTH, _HEIGHT = 9.0, 6.0
# Beyond so many epochs a mark at each would be a band.
_MOST_MARKS = 40
# Losses that fall so far are drawn by their logarithm.
_FAR = 30

Epochs = Sequence[Mapping[str, Any]]


def draw_history(epochs: Epochs, *, title: str = "Training", note: str = "") -> Figure:
    """Return the plot of epochs, oldest first.

    Args:
        epochs: Each with ``epoch`` (from 1), ``train_loss``, ``val_loss``, ``train_accuracy``, ``val_accuracy`` (0–1)
            and ``learning_rate``; any but the number may be ``None``.
        title: What stands above it.
        note: A line beneath the title.
    """
    figure = make_figure(_WIDTH, _HEIGHT)
    add_title(figure, title, note or _summarize(epochs))
    loss = add_axes(figure, left=0.75, top=1.0, width=3.55, height=2.75)
    accuracy = add_axes(figure, left=5.25, top=1.0, width=3.55, height=2.75)
    rate = add_axes(figure, left=0.75, top=4.65, width=8.05, height=0.85)
    _draw_pair(loss, epochs, "loss")
    _draw_pair(accuracy, epochs, "accuracy")
    _draw_rate(rate, epochs)
    return figure


def _summarize(epochs: Epochs) -> str:
    if not epochs:
        return "No epoch has ended yet."
    known = [(one["val_accuracy"], one["epoch"]) for one in epochs if one["val_accuracy"] is not None]
    count = "1 epoch" if len(epochs) == 1 else f"{len(epochs)} epochs"
    if not known:
        return f"{count}; no image validates"
    best, epoch = max(known, key=lambda pair: (pair[0], -pair[1]))
    return f"{count}; the best validation accuracy, {best:.2%}, came with epoch {epoch}"


def _draw_pair(axes: Axes, epochs: Epochs, figure: str) -> None:
    lines = {"training": (_column(epochs, f"train_{figure}"), TRAIN)}
    lines["validation"] = (_column(epochs, f"val_{figure}"), VALIDATION)
    for name, (values, color) in lines.items():
        if np.isfinite(values).any():
            axes.plot(_numbers(epochs), values, label=name, color=color, marker=_marker(epochs), markersize=3.5, lw=1.6)
    axes.set_title(figure.capitalize(), loc="left", color=INK)
    _prepare(axes, epochs)
    values = np.concatenate([values for values, _ in lines.values()])
    values = values[np.isfinite(values)]
    if figure == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=_decimals(values)))
    elif len(values) and values.min() > 0 and values.max() > _FAR * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    axes.set_xlabel("epoch")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")


def _decimals(values: npt.NDArray[np.float64]) -> int:
    return 1 if len(values) and np.ptp(values) < 0.04 else 0


def _draw_rate(axes: Axes, epochs: Epochs) -> None:
    rates = _column(epochs, "learning_rate")
    axes.plot(_numbers(epochs), rates, color=FAINT, marker=_marker(epochs), markersize=3, lw=1.6)
    axes.set_title("Learning rate at the end of each epoch", loc="left", color=INK)
    _prepare(axes, epochs)
    known = rates[np.isfinite(rates)]
    axes.set_ylim(0, 1.15 * known.max(initial=0.0) or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter("{x:g}")


def _prepare(axes: Axes, epochs: Epochs) -> None:
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, max(len(epochs), 1) + 0.5)


def _numbers(epochs: Epochs) -> list[int]:
    return [one["epoch"] for one in epochs]


def _column(epochs: Epochs, name: str) -> npt.NDArray[np.float64]:
    return np.array([np.nan if one[name] is None else one[name] for one in epochs], np.float64)


def _marker(epochs: Epochs) -> str:
    return "o" if len(epochs) <= _MOST_MARKS else ""

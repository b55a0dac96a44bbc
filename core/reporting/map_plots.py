"""Plots of what a net has learnt to see: its first filters, and an image as each convolution sees it."""

from collections.abc import Sequence
from math import ceil

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from core.reporting.figures import add_axes, add_title, make_figure, show_image, tile

_MARGIN, _TOP, _HEAD = 0.15, 0.75, 0.3
_FILTER = 0.85
_MOST_MAPS = 64
_MAPS_WIDTH = 8.0

Floats = npt.NDArray[np.floating]


def draw_filters(weights: Floats, name: str) -> Figure:
    """Return the plot of the first layer's filters ``(filters, channels, kernel, kernel)``.

    Filters on gray images go from blue (below 0) over white to red; those on colour images show each channel's weight
    as that colour's light, gray being 0. All have one scale.
    """
    count, channels, kernel, _ = weights.shape
    most = float(np.abs(weights).max()) or 1.0
    if channels == 3:
        pictures = 0.5 + weights.transpose(0, 2, 3, 1) / (2 * most)
    else:
        pictures = mpl.colormaps["RdBu_r"](0.5 + weights[:, 0] / (2 * most))[..., :3]
    columns = min(count, 8)
    rows = ceil(count / columns)
    width = max(columns * _FILTER, 6.0 - 2 * _MARGIN)
    figure = make_figure(width + 2 * _MARGIN, _TOP + rows * _FILTER + _MARGIN)
    add_title(figure, "First-layer filters", _describe(name, count, kernel, channels, most))
    axes = add_axes(figure, left=_MARGIN, top=_TOP, width=columns * _FILTER, height=rows * _FILTER)
    zoom = 16
    enlarged = pictures.repeat(zoom, axis=1).repeat(zoom, axis=2)
    show_image(axes, tile(enlarged, columns=columns, gap=kernel * zoom // 8))
    return figure


def _describe(name: str, count: int, kernel: int, channels: int, most: float) -> str:
    colors = "light is weight, gray is 0" if channels == 3 else f"blue −{most:.2g}, white 0, red {most:.2g}"
    return f"{name}: {count} of {kernel}×{kernel}; {colors}"


def draw_feature_maps(image: npt.NDArray[np.uint8], maps: Sequence[Floats], *, title: str, note: str = "") -> Figure:
    """Return the plot of an image and of its maps after each convolution, first to last.

    Args:
        image: uint8 ``(height, width, channels)``.
        maps: For each convolution ``(filters, height, width)``; each is drawn from its least value to its greatest.
        title: What stands above it.
        note: A line beneath the title.
    """
    parts = [(_stretch(part[:_MOST_MAPS]), len(part)) for part in maps]
    forms = [_form(len(part)) for part, _ in parts]
    heights = [rows * side + _HEAD for rows, _, side in forms]
    figure = make_figure(_MAPS_WIDTH + 2 * _MARGIN, _TOP + 1.4 + _HEAD + sum(heights) + _MARGIN)
    add_title(figure, title, note)
    axes = add_axes(figure, left=_MARGIN, top=_TOP, width=1.4, height=1.4)
    show_image(axes, image[..., 0] / 255 if image.shape[2] == 1 else image)
    top = _TOP + 1.4
    for number, ((part, count), (rows, columns, side)) in enumerate(zip(parts, forms, strict=True), start=1):
        told = f"Convolution {number}: {count} maps of {part.shape[1]}×{part.shape[2]}"
        told += f", the first {len(part)}" if len(part) < count else ""
        axes = add_axes(figure, left=_MARGIN, top=top + _HEAD, width=columns * side, height=rows * side)
        gap = max(1, round(part.shape[1] / 10))
        show_image(axes, tile(part, columns=columns, gap=gap))
        axes.set_title(told, loc="left", fontsize=9, pad=3)
        top += rows * side + _HEAD
    return figure


def _form(count: int) -> tuple[int, int, float]:
    """Return rows, columns and the side of each map in inches, so that a row is as broad as the figure."""
    columns = count if count <= 8 else 16 if count > 32 else 8 if count <= 16 else 16
    return ceil(count / columns), columns, min(_MAPS_WIDTH / columns, 1.0)


def _stretch(maps: Floats) -> Floats:
    """Return maps in 0–1; one of a single value is black."""
    low = maps.min(axis=(1, 2), keepdims=True)
    spread = maps.max(axis=(1, 2), keepdims=True) - low
    stretched: Floats = (maps - low) / np.where(spread > 0, spread, 1)
    return stretched

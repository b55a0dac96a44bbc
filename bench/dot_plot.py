"""A plot of test errors and seconds by recipe, as SVG: a dot for each seed, a line for the mean."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from bench.cells import Outcome

_ROW, _HEAD, _FOOT = 26, 56, 34
_NAMES, _PANEL, _GAP, _EDGE = 170, 270, 60, 20
_INK, _GRID, _BLUE, _ORANGE = "#333333", "#dddddd", "#1f6fb4", "#c4611a"
_STYLE = "font-family='system-ui, sans-serif' font-size='13'"
# Room beyond the least and the most value, in shares of the panel.
_MARGIN = 0.06


@dataclass(frozen=True)
class _Panel:
    """One of the two panels: a logarithmic scale from the least to the most of ``values``."""

    title: str
    unit: str
    color: str
    left: float
    values: dict[str, list[float]]

    @property
    def ends(self) -> tuple[float, float]:
        found = [math.log10(value) for row in self.values.values() for value in row]
        return min(found), max(*found, min(found) + 0.1)

    def place(self, value: float) -> float:
        """Return the value's distance from the plot's left edge, in pixels."""
        low, high = self.ends
        share = (math.log10(value) - low) / (high - low)
        return self.left + _PANEL * (_MARGIN + (1 - 2 * _MARGIN) * share)

    def ticks(self) -> list[float]:
        """Return round numbers within the panel, at least three and at most six."""
        low, high = self.ends
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(step / 10 for step in range(10, 100))):
            powers = range(math.floor(low) - 1, math.ceil(high) + 1)
            found = [step * 10**power for power in powers for step in steps]
            inside = [value for value in found if low - 1e-9 <= math.log10(value) <= high + 1e-9]
            if len(inside) >= 3:
                break
        return inside[:: math.ceil(len(inside) / 6)]


def draw_plot(title: str, outcomes: Sequence[Outcome]) -> str:
    """Return the SVG of ``outcomes``, at least one, each with a test accuracy and seconds.

    Args:
        title: What stands above it.
        outcomes: Of one dataset; the recipes are ordered by their mean error, best first.
    """
    errors: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for one in outcomes:
        # A scale of logarithms has no zero: no error at all is shown as a hundredth of a percent.
        errors.setdefault(one.cell.recipe, []).append(max(100 * (1 - (one.test_accuracy or 0)), 0.01))
        seconds.setdefault(one.cell.recipe, []).append(max(one.seconds or 0, 0.1))
    recipes = sorted(errors, key=lambda recipe: statistics.mean(errors[recipe]))
    panels = (
        _Panel("test error", "%", _BLUE, _NAMES, errors),
        _Panel("training", "s", _ORANGE, _NAMES + _PANEL + _GAP, seconds),
    )
    width, height = _NAMES + 2 * _PANEL + _GAP + _EDGE, _HEAD + _ROW * len(recipes) + _FOOT
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' {_STYLE}>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
        _text(title, _NAMES, 20, weight="bold"),
        *(_text(recipe, _NAMES - 14, _line(row) + 5, anchor="end") for row, recipe in enumerate(recipes)),
    ]
    for panel in panels:
        parts += _draw_panel(panel, recipes)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_panel(panel: _Panel, recipes: Sequence[str]) -> Iterator[str]:
    bottom = _HEAD + _ROW * len(recipes)
    yield _text(f"{panel.title} ({panel.unit}, logarithmic)", panel.left, 42, color=panel.color)
    for tick in panel.ticks():
        x = panel.place(tick)
        yield f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{_HEAD}' y2='{bottom}' stroke='{_GRID}'/>"
        yield _text(f"{tick:.3g}", x, bottom + 18, anchor="middle")
    for row, recipe in enumerate(recipes):
        y, mean = _line(row), panel.place(statistics.mean(panel.values[recipe]))
        line = f"stroke='{panel.color}' stroke-width='3'"
        yield f"<line x1='{mean:.1f}' x2='{mean:.1f}' y1='{y - 9}' y2='{y + 9}' {line}/>"
        for value in panel.values[recipe]:
            dot = f"<circle cx='{panel.place(value):.1f}' cy='{y}' r='4' fill='{panel.color}' fill-opacity='0.45'>"
            yield f"{dot}<title>{escape(recipe)}: {value:.3g} {panel.unit}</title></circle>"


def _line(row: int) -> int:
    return _HEAD + _ROW * row + _ROW // 2


def _text(text: str, x: float, y: float, *, anchor: str = "start", weight: str = "normal", color: str = _INK) -> str:
    place = f"x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-weight='{weight}' fill='{color}'"
    return f"<text {place}>{escape(text)}</text>"

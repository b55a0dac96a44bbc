"""The ground of every plot: a figure that is drawn off screen, in one style, whatever names people give their classes.

Nothing of ``pyplot`` is used: its figures are the process's, and are kept until somebody closes them.
"""

import io
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DOTS_PER_INCH = 100
INK, GRAY, FAINT, PALE = "#1f2933", "#52606d", "#9aa5b1", "#eef0f2"
TRAIN, VALIDATION, RIGHT, WRONG = "#1f6fb2", "#d9730d", "#1a7f37", "#c0392b"
# What covers scripts that the first font lacks, where one of them is installed.
_FALLBACKS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Noto Sans Arabic")
# The mean width of a letter, as a share of the font's size.
_LETTER = 0.6
_POINTS_PER_INCH = 72


@contextmanager
def styled() -> Iterator[None]:
    """Draw within this: the fonts and lines of every plot. A class may be called ``$x$``: names are never formulas."""
    style: Any = {
        "font.family": _families(),
        "font.size": 9,
        "text.parse_math": False,
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": PALE,
        "legend.frameon": False,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        # A letter that no font here has is drawn as a box: the plot is still one.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


@cache
def _families() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` × ``height`` inches."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def encode_figure(figure: Figure, about: Mapping[str, str]) -> bytes:
    """Return the figure as a PNG file that says ``about`` itself; equal figures make equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": "lenet-platform", **about})
    return stream.getvalue()


def add_axes(figure: Figure, *, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes whose corner is ``left`` and ``top`` inches from the figure's, of this size in inches."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def add_title(figure: Figure, title: str, note: str = "", *, growth: float = 1.0) -> None:
    """Write a title, and beneath it a note, at the figure's top left, ``growth`` times as large as usual."""
    width, height = figure.get_size_inches()
    left, room = 0.15 / width, (width - 0.3) / growth
    style: dict[str, Any] = {"va": "top", "fontsize": 9 * growth, "color": GRAY}
    figure.text(left, 1 - growth * 0.36 / height, shorten(note, _fit_letters(room, 9)), **style)
    style |= {"fontsize": 12 * growth, "color": INK, "fontweight": "bold"}
    figure.text(left, 1 - growth * 0.12 / height, shorten(title, _fit_letters(room, 12)), **style)


def shorten(name: str, most: int) -> str:
    """Return a name on one line without control characters, of at most ``most`` letters."""
    # Looking at the first letters is enough: a name may have many thousands.
    plain = "".join("�" if unicodedata.category(letter)[0] == "C" else letter for letter in name[: most + 1])
    return plain if len(plain) <= most else plain[: max(most - 1, 0)] + "…"


def text_inches(name: str, size: float) -> float:
    """Return about how broad a text of a font size in points is; letters of the Far East are twice as broad."""
    letters = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)
    return letters * size * _LETTER / _POINTS_PER_INCH


def fit(name: str, inches: float, size: float) -> str:
    """Return a name shortened to a breadth in inches at a font size in points."""
    short = shorten(name, _fit_letters(inches, size))
    while len(short) > 1 and text_inches(short, size) > inches:
        short = shorten(short, len(short) - 1)
    return short


def _fit_letters(inches: float, size: float) -> int:
    return max(1, int(inches * _POINTS_PER_INCH / (size * _LETTER)))


def show_image(
    axes: Axes, pixels: npt.NDArray[Any], *, extent: tuple[float, float, float, float] | None = None
) -> None:
    """Show ``(height, width)``, 0–1 as gray, or ``(height, width, 3)``, pixel by pixel, without the axes' lines.

    ``extent`` is where, as left, right, bottom and top in the axes' units.
    """
    limits: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if pixels.ndim == 2 else {}
    axes.imshow(pixels, interpolation="nearest", aspect="auto", extent=extent, **limits)
    axes.set_axis_off()


def tile(images: npt.NDArray[Any], *, columns: int, gap: int, background: float = 1.0) -> npt.NDArray[Any]:
    """Return images ``(n, height, width, …)`` in one picture, row by row, ``gap`` pixels apart."""
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:])
    picture = np.full(shape, background, images.dtype)
    for number, image in enumerate(images):
        down, right = number // columns * (height + gap), number % columns * (width + gap)
        picture[down : down + height, right : right + width] = image
    return picture

"""The contact sheet of a dataset: some images of each class beside its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from core.datasets.captions import shorten
from core.datasets.decoding import Preview
from core.datasets.layout import Layout
from core.domain.datasets import SPLITS

_MARGIN, _GAP, _TEXT_HEIGHT = 16, 4, 20
_BACKGROUND, _INK, _FAINT = "white", "#1f2933", "#e4e7eb"


@dataclass(frozen=True)
class _Form:
    """How many classes are shown, how many images of each, in how many columns; the side of a cell in pixels."""

    classes: int
    images: int
    columns: int
    side: int


_FORMS = (
    _Form(classes=12, images=10, columns=1, side=64),
    _Form(classes=40, images=6, columns=2, side=64),
    _Form(classes=240, images=4, columns=4, side=48),
)


def _choose_form(classes: int) -> _Form:
    return next((form for form in _FORMS if classes <= form.classes), _FORMS[-1])


def preview_side(layout: Layout) -> int:
    """Return the side in pixels of the box that each image of the sheet has to fit in."""
    return _choose_form(len(layout.classes)).side


def choose_previews(layout: Layout) -> npt.NDArray[np.bool_]:
    """Return which entries to show: of each class a few images of ``train``, spread over the archive."""
    form = _choose_form(len(layout.classes))
    chosen = np.zeros(len(layout.splits), np.bool_)
    train = np.flatnonzero(layout.splits == SPLITS.index("train"))
    by_class = train[np.argsort(layout.labels[train], kind="stable")]
    bounds = np.searchsorted(layout.labels[by_class], np.arange(min(form.classes, len(layout.classes)) + 1))
    for start, end in pairwise(bounds.tolist()):
        places = np.linspace(start, end - 1, num=min(form.images, end - start))
        chosen[by_class[places.round().astype(np.int64)]] = True
    return chosen


def draw_preview(classes: Sequence[str], rows: Sequence[Sequence[Preview]]) -> Image.Image:
    """Draw the sheet.

    Args:
        classes: Names of all classes.
        rows: The pictures of the classes that are shown, in the order of ``classes``.
    """
    form = _choose_form(len(classes))
    shown = min(len(classes), form.classes)
    lines = -(-shown // form.columns)
    width, height = form.images * (form.side + _GAP) + _MARGIN, _TEXT_HEIGHT + form.side + 2 * _GAP
    note = f"and {len(classes) - shown:,} classes more" if shown < len(classes) else ""
    size = (_MARGIN + form.columns * width, 2 * _MARGIN + lines * height + (_TEXT_HEIGHT if note else 0))
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for number, (name, pictures) in enumerate(zip(classes, rows, strict=False)):
        left = _MARGIN + number // lines * width
        top = _MARGIN + number % lines * height
        draw.text((left, top), shorten(name, width - _MARGIN, font), _INK, font)
        for place, picture in enumerate(pictures[: form.images]):
            _paste(sheet, picture, left + place * (form.side + _GAP), top + _TEXT_HEIGHT, form.side)
    draw.text((_MARGIN, size[1] - _MARGIN - _TEXT_HEIGHT), note, _INK, font)
    return sheet


def _paste(sheet: Image.Image, picture: Preview, left: int, top: int, side: int) -> None:
    ImageDraw.Draw(sheet).rectangle((left, top, left + side - 1, top + side - 1), _FAINT)
    image = Image.frombytes(picture.mode, picture.size, picture.data)
    sheet.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))

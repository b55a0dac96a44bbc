"""Pictures of what a model sees: the maps of each convolution, and what an answer rests on. Pillow alone draws them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from core.datasets.captions import shorten
from core.inference.saliency import Saliency

_MARGIN, _GAP, _LINE = 20, 6, 24
_BACKGROUND, _INK, _FAINT = "white", "#1f2933", "#69757f"
_WIDTH = 960
_LARGEST_TILE, _PICTURE = 96, 288
_BAR_HEIGHT = 14
# A map that varies by less than this share of what the liveliest one does is taken for a quiet one.
_LEAST_RANGE = 0.1
# Opposite and told apart by every eye: orange speaks for the class, blue against it.
_FOR, _AGAINST = np.array([230.0, 97.0, 1.0]), np.array([38.0, 96.0, 190.0])

Pixels = npt.NDArray[np.uint8]


def draw_feature_maps(filename: str, image: Pixels, maps: Sequence[npt.NDArray[np.float32]]) -> Image.Image:
    """Draw what each convolution makes of an image, first to last, each map in its own range.

    Args:
        filename: What the image is called.
        image: uint8 ``(size, size, channels)``, as the model takes it.
        maps: For each convolution ``(filters, height, width)``.
    """
    grids = [_Grid(layer) for layer in maps]
    height = 2 * _MARGIN + _LINE + _LARGEST_TILE + sum(grid.height for grid in grids)
    sheet, top = Image.new("RGB", (_WIDTH, height), _BACKGROUND), _MARGIN
    size = image.shape[0]
    _write(sheet, (_MARGIN, top), f"{size} by {size} pixels, as the model takes them: {filename}")
    sheet.paste(_enlarge(image, _LARGEST_TILE), (_MARGIN, top + _LINE))
    top += _LINE + _LARGEST_TILE
    for number, grid in enumerate(grids, start=1):
        grid.draw(sheet, top, f"Convolution {number}")
        top += grid.height
    return sheet


class _Grid:
    """The maps of one convolution as tiles in rows."""

    def __init__(self, maps: npt.NDArray[np.float32]) -> None:
        self._maps = maps
        room = _WIDTH - 2 * _MARGIN + _GAP
        per_row = next(count for count in (8, 16, 24, 32) if len(maps) <= 4 * count or count == 32)
        self._side = min(_LARGEST_TILE, room // per_row - _GAP)
        self._columns = room // (self._side + _GAP)
        rows = -(-len(maps) // self._columns)
        self.height = _LINE + _GAP + _LINE + rows * (self._side + _GAP)

    def draw(self, sheet: Image.Image, top: int, title: str) -> None:
        """Draw the tiles below their title."""
        count, height, width = self._maps.shape
        _write(sheet, (_MARGIN, top + _LINE), f"{title}: {count} maps of {height} by {width}")
        for number, level in enumerate(_scale_maps(self._maps)):
            row, column = divmod(number, self._columns)
            left = _MARGIN + column * (self._side + _GAP)
            sheet.paste(_enlarge(level[..., None], self._side), (left, top + 2 * _LINE + row * (self._side + _GAP)))


def _scale_maps(maps: npt.NDArray[np.float32]) -> Pixels:
    """Return each map from black, its least value, to white; one that hardly varies beside the others stays dark."""
    least = maps.min(axis=(1, 2), keepdims=True)
    ranges = maps.max(axis=(1, 2), keepdims=True) - least
    widest = np.maximum(ranges, _LEAST_RANGE * ranges.max(initial=0))
    levels: Pixels = ((maps - least) * (255 / np.where(widest > 0, widest, 1))).astype(np.uint8)
    return levels


def draw_saliency(filename: str, image: Pixels, saliency: Saliency, class_name: str) -> Image.Image:
    """Draw an image beside itself with what speaks for and against a class laid over it.

    Args:
        filename: What the image is called.
        image: uint8 ``(size, size, channels)``, as the model takes it.
        saliency: What was measured on it.
        class_name: The name of the class that was looked at.
    """
    width = 2 * _MARGIN + 2 * _PICTURE + 4 * _GAP
    height = 2 * _MARGIN + 2 * _LINE + _PICTURE + 2 * _GAP + _BAR_HEIGHT + _LINE
    sheet, top = Image.new("RGB", (width, height), _BACKGROUND), _MARGIN
    _write(sheet, (_MARGIN, top), f"{class_name}: {saliency.confidence:.1%}")
    _write(sheet, (_MARGIN, top + _LINE), filename, ink=_FAINT)
    top += 2 * _LINE
    strongest = float(np.abs(saliency.heat).max())
    left = _MARGIN + _PICTURE + 4 * _GAP
    sheet.paste(_enlarge(image, _PICTURE), (_MARGIN, top))
    sheet.paste(_lay_over(image, saliency.heat / (strongest or 1)), (left, top))
    _draw_scale(sheet, left, top + _PICTURE + 2 * _GAP, strongest)
    return sheet


def _lay_over(image: Pixels, heat: npt.NDArray[np.float64]) -> Image.Image:
    """Return the image in faint gray under the colours of ``heat``, −1 to 1."""
    gray = np.asarray(_enlarge(image, _PICTURE).convert("L"), np.float64)[..., None]
    smooth = Image.fromarray(heat.astype(np.float32)).resize((_PICTURE, _PICTURE), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(smooth), -1, 1)[..., None]
    color = np.where(strength > 0, _FOR, _AGAINST)
    cover = 0.85 * np.abs(strength)
    return Image.fromarray(((1 - cover) * (96 + 0.55 * gray) + cover * color).round().astype(np.uint8))


def _draw_scale(sheet: Image.Image, left: int, top: int, strongest: float) -> None:
    place = np.linspace(-1, 1, _PICTURE)[None, :, None]
    color = np.where(place > 0, _FOR, _AGAINST)
    bar = ((1 - np.abs(place)) * 236 + np.abs(place) * color).round().astype(np.uint8)
    sheet.paste(Image.fromarray(np.repeat(bar, _BAR_HEIGHT, axis=0)), (left, top))
    below = top + _BAR_HEIGHT + _GAP // 2
    percent = f"{strongest:.1%}"
    _write(sheet, (left, below), f"against, -{percent}", ink=_FAINT)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    right = f"for, +{percent}"
    draw.text((left + _PICTURE - font.getlength(right), below), right, _FAINT, font)
    for line, words in ((top - 1, "What the probability loses"), (below, "where a part is covered")):
        draw.text((_MARGIN, line), words, _FAINT, font)


def _enlarge(pixels: Pixels, side: int) -> Image.Image:
    """Return pixels ``(height, width, channels)`` as a square picture in which each can be seen."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    filter_ = Image.Resampling.NEAREST if max(image.size) <= side else Image.Resampling.BOX
    return image.resize((side, side), filter_).convert("RGB")


def _write(sheet: Image.Image, place: tuple[int, int], words: str, *, ink: str = _INK) -> None:
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(sheet).text(place, shorten(words, sheet.width - place[0] - _MARGIN, font), ink, font)

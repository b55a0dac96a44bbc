"""Pictures of the digits 0-9, drawn with Pillow alone: small, varied, and the same for the same seed."""

import io
import random
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DIGITS = "0123456789"
SIDES = (28, 32)
# Drawn large and scaled down, so that edges are smooth at every angle.
CANVAS = 96
_EPOCH = (1980, 1, 1, 0, 0, 0)


def draw_digit(digit: str, draws: random.Random) -> Image.Image:
    """Return a grey picture of a digit, 28 to 32 pixels wide and high.

    Size, place, angle, stroke, light, contrast, background and noise come from ``draws``.
    """
    side = draws.randint(*SIDES)
    size = (side, side)
    ink = _shape(digit, draws).resize(size, Image.Resampling.LANCZOS)
    low, high = draws.randint(0, 80), draws.randint(170, 255)
    dark, bright = Image.new("L", size, low), Image.new("L", size, high)
    back = Image.blend(dark, _gradient(size, draws), draws.uniform(0.0, 0.3))
    picture = Image.composite(bright, back, ink)
    return Image.blend(picture, _noise(size, draws), draws.uniform(0.0, 0.25))


def write_archive(target: Path, *, train: int = 150, test: int = 40, seed: int = 0) -> Path:
    """Write a ZIP with ``train/<digit>/…`` and ``test/<digit>/…`` and return its path.

    Args:
        target: The file.
        train: Training pictures of each class.
        test: Test pictures of each class; none of them is a training picture.
        seed: The same seed gives the same pictures.
    """
    draws = random.Random(seed)  # noqa: S311 - pictures, not secrets
    with zipfile.ZipFile(target, "w") as archive:
        for split, count in (("train", train), ("test", test)):
            for digit in DIGITS:
                for number in range(count):
                    name = zipfile.ZipInfo(f"{split}/{digit}/{number:04}.png", _EPOCH)
                    archive.writestr(name, to_png(draw_digit(digit, draws)))
    return target


def to_png(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _shape(digit: str, draws: random.Random) -> Image.Image:
    font = ImageFont.load_default(draws.uniform(0.65, 1.0) * CANVAS)
    canvas = Image.new("L", (CANVAS, CANVAS))
    center = [CANVAS / 2 + draws.uniform(-0.08, 0.08) * CANVAS for _ in range(2)]
    stroke = draws.choice([0, 0, 1, 2, 3])
    ImageDraw.Draw(canvas).text((center[0], center[1]), digit, 255, font, anchor="mm", stroke_width=stroke)
    return canvas.rotate(draws.uniform(-18, 18), Image.Resampling.BICUBIC)


def _gradient(size: tuple[int, int], draws: random.Random) -> Image.Image:
    return Image.linear_gradient("L").rotate(draws.choice([0, 45, 90, 135, 180, 270])).resize(size)


def _noise(size: tuple[int, int], draws: random.Random) -> Image.Image:
    return Image.frombytes("L", size, draws.randbytes(size[0] * size[1]))

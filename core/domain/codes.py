"""Codes of classes: what the units before a radial basis output should show for each class, without any engine."""

from random import Random

Codes = tuple[tuple[int, ...], ...]

DIGIT_WIDTH, DIGIT_HEIGHT = 7, 12
# Stylised digits of 7×12 pixels, after figure 3 of LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied
# to document recognition (1998). The figure is a picture, not a table: these are drawn by eye in its manner.
_DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... ##...## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... .....## ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. ######. ##.###. ....##. .#####. .######
##...## ...##.. ...##.. .....## ##..##. .....## ###..## ....##. ##...## .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ...##.. ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""

_DRAWS = 16
_SEED = 1998


def draw_codes(classes: int, width: int) -> Codes:
    """Return a code of −1 and 1 for each class, the same at every call.

    Ten classes of 84 units get the paper's digits. Other numbers get codes far from each other: each is, of 16
    pseudo-random ones, that whose nearest earlier code differs from it in the most places.

    Args:
        classes: How many codes.
        width: How many numbers each has.
    """
    if (classes, width) == (10, DIGIT_WIDTH * DIGIT_HEIGHT):
        return _read_digits()
    # Seeded and of no secret: the codes must be the same wherever the model is built.
    random = Random(_SEED)  # noqa: S311 - no secret
    chosen: list[int] = []
    for _ in range(classes):
        drawn = [random.getrandbits(width) for _ in range(_DRAWS)]
        chosen.append(max(drawn, key=lambda code: min(((code ^ other).bit_count() for other in chosen), default=0)))
    return tuple(tuple(1 if code >> place & 1 else -1 for place in range(width)) for code in chosen)


def _read_digits() -> Codes:
    rows = [line.split() for line in _DIGITS.split("\n") if line]
    return tuple(tuple(1 if pixel == "#" else -1 for row in rows for pixel in row[digit]) for digit in range(10))

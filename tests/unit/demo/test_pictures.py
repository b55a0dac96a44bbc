import io
import random
import zipfile

import pytest
from PIL import Image

from demo.pictures import DIGITS, SIDES, draw_digit, to_png, write_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("pictures") / "digits.zip", train=3, test=2)


def test_the_same_seed_draws_the_same_archive(archive, tmp_path):
    again = write_archive(tmp_path / "again.zip", train=3, test=2)
    assert again.read_bytes() == archive.read_bytes()


def test_another_seed_draws_other_pictures(archive, tmp_path):
    other = write_archive(tmp_path / "other.zip", train=3, test=2, seed=1)
    assert other.read_bytes() != archive.read_bytes()


def test_each_class_has_its_training_and_test_pictures(archive):
    with zipfile.ZipFile(archive) as opened:
        names = [tuple(name.split("/")[:2]) for name in opened.namelist()]
    expected = [("train", digit) for digit in DIGITS for _ in range(3)]
    assert names == expected + [("test", digit) for digit in DIGITS for _ in range(2)]


def test_every_picture_is_a_small_grey_png_and_none_is_twice(archive):
    pixels = set()
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            with Image.open(io.BytesIO(opened.read(name))) as picture:
                assert (picture.format, picture.mode, picture.width) == ("PNG", "L", picture.height)
                assert SIDES[0] <= picture.width <= SIDES[1]
                pixels.add(picture.tobytes())
        assert len(pixels) == len(opened.namelist())


def test_a_digit_can_be_seen_against_its_background():
    for digit in DIGITS:
        low, high = draw_digit(digit, random.Random(7)).getextrema()
        assert high - low > 60


def test_a_picture_is_read_back_as_it_was_drawn():
    picture = draw_digit("4", random.Random(1))
    assert Image.open(io.BytesIO(to_png(picture))).tobytes() == picture.tobytes()

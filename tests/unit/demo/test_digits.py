import io
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from demo.digits import list_digits, write_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("digits") / "digits.zip")


@pytest.fixture(scope="module")
def pictures(archive):
    with zipfile.ZipFile(archive) as opened:
        return {name: Image.open(io.BytesIO(opened.read(name))) for name in opened.namelist()}


def test_the_archive_is_the_same_every_time(archive, tmp_path):
    assert write_archive(tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_every_digit_of_the_set_is_in_it_once(pictures):
    digits = load_digits()
    counts = Counter(name.split("/")[1] for name in pictures)
    assert counts == Counter(map(str, digits.target))
    assert sum(counts.values()) == 1797


def test_a_fifth_of_each_class_is_for_testing(pictures):
    counts = Counter(tuple(name.split("/")[:2]) for name in pictures)
    for digit in "0123456789":
        train, test = counts["train", digit], counts["test", digit]
        assert test == (train + test) // 5 >= 34


def test_every_picture_is_a_grey_png_with_the_pixels_of_the_set(pictures):
    digits = load_digits()
    found = {digit: [] for digit in range(10)}
    for name, picture in pictures.items():
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (8, 8))
        found[int(name.split("/")[1])].append((name.split("/")[2], np.asarray(picture) / 255 * 16))
    for digit, drawn in found.items():
        in_order = np.stack([pixels for _, pixels in sorted(drawn, key=lambda one: one[0])])
        assert np.abs(in_order - digits.images[digits.target == digit]).max() < 0.05


def test_the_whole_range_of_brightness_is_used():
    values = np.stack([pixels for _, pixels in list_digits()])
    assert values.dtype == np.uint8
    assert (values.min(), values.max()) == (0, 255)

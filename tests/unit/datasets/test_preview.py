import numpy as np
import pytest
from PIL import Image

from core.datasets.decoding import Preview, _make_preview
from core.datasets.layout import Layout
from core.datasets.preview import choose_previews, draw_preview, preview_side


def make_layout(classes, each):
    count = classes * each
    return Layout(
        classes=[f"class {n}" for n in range(classes)],
        splits=np.zeros(count, np.int8),
        labels=np.repeat(np.arange(classes, dtype=np.int32), each),
        notes=np.zeros(count, np.uint8),
        foreign_classes=[],
    )


@pytest.mark.parametrize(("classes", "rows", "images"), [(2, 2, 10), (30, 30, 6), (100, 100, 4), (1000, 240, 4)])
def test_a_few_images_of_each_class_are_spread_over_the_archive(classes, rows, images):
    layout = make_layout(classes, 50)
    chosen = choose_previews(layout).reshape(classes, 50)
    assert np.count_nonzero(chosen.any(axis=1)) == rows
    assert chosen[0].sum() == images
    assert chosen[0, [0, -1]].all()


def test_classes_with_few_images_show_all():
    assert choose_previews(make_layout(2, 3)).sum() == 6


@pytest.mark.parametrize("classes", [2, 13, 100, 1000])
def test_sheets_stay_of_a_size_that_can_be_looked_at(classes):
    side = preview_side(make_layout(classes, 1))
    picture = Preview("RGB", (side, side), bytes([200, 30, 30]) * side * side)
    sheet = draw_preview([f"class {n}" for n in range(classes)], [[picture] * 10] * min(classes, 240))
    assert sheet.width <= 1400
    assert sheet.height <= 5000
    colors = [color for _, color in sheet.getcolors(100_000)]
    assert (200, 30, 30) in colors


def test_any_name_can_be_drawn():
    names = ["x" * 255, "猫🐈", "", "W" * 20_000, "-\u0301" * 100]
    assert draw_preview(names, [[]] * 5).height > 300


def test_small_images_grow_by_whole_factors_and_large_ones_shrink():
    assert _make_preview(Image.new("L", (28, 28)), 64).size == (56, 56)
    assert _make_preview(Image.new("RGB", (4000, 1000)), 64).size == (64, 16)
    assert _make_preview(Image.new("L", (5000, 1)), 64).size == (64, 1)

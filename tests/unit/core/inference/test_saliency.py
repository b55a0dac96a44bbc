import numpy as np
import pytest

from core.inference.drawing import draw_feature_maps, draw_saliency
from core.inference.saliency import Saliency, measure_saliency


class BrightCorner:
    """A model whose second class is as probable as the pixel at one place is bright."""

    def __init__(self, row, column):
        self._place = row, column

    def predict(self, images):
        bright = images[(slice(None), *self._place, 0)] / 255
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)


def draw_spot(row, column, size=20):
    image = np.zeros((size, size, 1), np.uint8)
    image[row, column] = 255
    return image


@pytest.mark.parametrize("place", [(10, 6), (0, 0), (19, 19), (0, 19)])
def test_the_heat_is_where_the_answer_comes_from(place):
    found = measure_saliency(BrightCorner(*place), draw_spot(*place))
    assert (found.class_index, found.confidence) == (1, 1.0)
    hottest = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert np.abs(np.subtract(hottest, place)).max() < found.patch_size
    assert found.heat[place] == pytest.approx(1, abs=0.01)


def test_far_away_nothing_is_lost():
    found = measure_saliency(BrightCorner(2, 2), draw_spot(2, 2))
    assert found.heat[12:, 12:] == pytest.approx(0)


def test_for_another_class_the_same_place_speaks_against_it():
    found = measure_saliency(BrightCorner(10, 10), draw_spot(10, 10), class_index=0)
    assert found.confidence == 0
    assert found.heat[10, 10] == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize("size", [1, 2, 5, 32, 64])
def test_every_pixel_is_covered_at_every_size(size):
    found = measure_saliency(BrightCorner(0, 0), draw_spot(0, 0, size))
    assert found.heat.shape == (size, size)
    assert np.isfinite(found.heat).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saliency_picture_has_the_colours_of_both_sides(channels):
    heat = np.zeros((20, 20))
    heat[:8], heat[12:] = 0.5, -0.5
    image = np.full((20, 20, channels), 128, np.uint8)
    picture = np.asarray(draw_saliency("a.png", image, Saliency(0, 0.5, heat, 4, 1), "ant"), np.int64)
    right = picture[70:330, 340:600]
    assert (right[10, :, 0] > right[10, :, 2] + 80).all(), "orange at the top"
    assert (right[-10, :, 2] > right[-10, :, 0] + 80).all(), "blue at the bottom"


def test_an_even_image_without_any_heat_is_drawn_too():
    image = np.zeros((8, 8, 1), np.uint8)
    assert draw_saliency("a" * 500, image, Saliency(0, 1.0, np.zeros((8, 8)), 2, 1), "ant").size[0] < 1000


def test_a_map_sheet_grows_with_its_maps_and_shows_quiet_ones_dark():
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (28, 28, 1), dtype=np.uint8)
    lively, quiet = draw.random((1, 24, 24)), draw.random((1, 24, 24)) / 1000
    few = draw_feature_maps("a.png", image, [np.concatenate([lively, quiet]).astype(np.float32)])
    many = draw_feature_maps("a.png", image, [draw.random((120, 1, 1)).astype(np.float32)] * 3)
    assert few.size[0] == many.size[0]
    assert many.size[1] > few.size[1]
    sheet = np.asarray(few.convert("L"))[190:282]
    assert sheet[:, 20:116].max() > 250
    assert sheet[:, 122:218].max() < 20

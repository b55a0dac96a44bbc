"""Plots are drawn for whatever a training leaves. That they look well was seen by eye; here is what can be counted."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from core.domain.architectures import ARCHITECTURES
from core.domain.plots import PLOTS
from core.reporting.confusion_plot import draw_confusion_matrix
from core.reporting.figures import encode_figure, fit, shorten, styled, text_inches
from core.reporting.gallery_plots import Shown, draw_mistakes, draw_predictions
from core.reporting.history_plot import draw_history
from core.reporting.map_plots import draw_feature_maps, draw_filters
from core.reporting.package import read_leavings
from core.reporting.plots import draw_plots

DRAW = np.random.default_rng(0)


def picture(draw, *arguments, **options):
    """Return a plot as the picture that people get; it is there and it is not blank."""
    with styled():
        image = Image.open(io.BytesIO(encode_figure(draw(*arguments, **options), {})))
    assert image.format == "PNG"
    assert len(image.convert("L").getcolors(256)) > 3
    return image


def texts(figure):
    return [text.get_text() for text in (*figure.texts, *(text for axes in figure.axes for text in axes.texts))]


def epochs(count, **others):
    one = {"train_loss": 0.5, "train_accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.75, "learning_rate": 0.01}
    return [{"epoch": number, **one, **others} for number in range(1, count + 1)]


@pytest.mark.parametrize("count", [0, 1, 2, 41, 1000])
def test_a_history_of_any_length_is_drawn(count):
    assert picture(draw_history, epochs(count)).size == (900, 600)


@pytest.mark.parametrize(
    "others",
    [{"val_loss": None, "val_accuracy": None}, {"train_loss": float("nan")}, {"train_loss": 0.0}, {"train_loss": 1e9}],
)
def test_a_history_with_odd_figures_is_drawn(others):
    picture(draw_history, epochs(3, **others))


def test_a_history_says_which_epoch_was_best():
    told = epochs(3)
    told[1]["val_accuracy"] = told[2]["val_accuracy"] = 0.9
    assert "3 epochs; the best validation accuracy, 90.00%, came with epoch 2" in texts(draw_history(told))
    assert "No epoch has ended yet." in texts(draw_history([]))
    assert "1 epoch; no image validates" in texts(draw_history(epochs(1, val_accuracy=None)))


@pytest.mark.parametrize("count", [1, 2, 10, 43, 242, 300])
def test_a_confusion_matrix_of_any_size_is_drawn(count):
    matrix = DRAW.integers(0, 4, (count, count)) + 20 * np.eye(count, dtype=int)
    image = picture(draw_confusion_matrix, matrix.tolist(), [f"class number {number}" for number in range(count)])
    assert image.width <= 4500
    assert image.height <= 4500


def test_a_confusion_matrix_names_every_class_and_the_worst_confusions():
    names = [f"class {number}" for number in range(43)]
    matrix = 20 * np.eye(43, dtype=int)
    matrix[3, 7], matrix[8, 2] = 5, 9
    told = texts(draw_confusion_matrix(matrix.tolist(), names))
    assert {*names} <= {*told}
    assert "9\n5" in told
    assert "class 8 → class 2\nclass 3 → class 7" in told
    assert "860 of 874 test images right, 98.40%" in told


def test_a_confusion_matrix_of_no_image_or_no_mistake_says_so():
    assert "There are no test images." in texts(draw_confusion_matrix([[0, 0], [0, 0]], ["a", "b"]))
    assert "none" in texts(draw_confusion_matrix([[5, 0], [0, 5]], ["a", "b"]))


def shown(count, *, channels=1, side=28):
    pixels = DRAW.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    return [Shown(image, "ant", "ant" if number % 3 else "bee", 0.9) for number, image in enumerate(pixels)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "side"), [(0, 28), (1, 28), (9, 128), (40, 32)])
def test_any_number_of_predictions_is_drawn(count, side, channels):
    picture(draw_predictions, shown(count, channels=channels, side=side))


def test_predictions_say_what_is_right_and_what_else_it_is():
    told = texts(draw_predictions(shown(3)))
    assert told[-4:] == ["bee  90.0%", "is ant", "ant  90.0%", "ant  90.0%"]
    assert "2 of these 3 images are right" in told


def test_mistakes_say_how_many_they_are():
    assert "45 of 900 test images, 5.00%; the 32 surest ones" in texts(
        draw_mistakes(shown(40), mistakes=45, images=900)
    )
    assert "1 of 9 test images, 11.11%; the surest first" in texts(draw_mistakes(shown(1), mistakes=1, images=9))
    assert "None in 9 test images." in texts(draw_mistakes([], mistakes=0, images=9))
    assert "There are no test images." in texts(draw_mistakes([], mistakes=0, images=0))


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (6, 3, 5, 5), (32, 3, 3, 3), (1, 1, 3, 3)])
def test_filters_are_drawn(shape):
    picture(draw_filters, DRAW.normal(size=shape), "conv1")
    picture(draw_filters, np.zeros(shape), "conv1")


def test_maps_of_every_size_are_drawn():
    maps = [DRAW.random((6, 28, 28)), DRAW.random((128, 8, 8)), DRAW.random((120, 1, 1)), np.zeros((16, 4, 4))]
    figure = draw_feature_maps(np.zeros((32, 32, 3), np.uint8), maps, title="Maps")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[2] == "Convolution 2: 128 maps of 8×8, the first 64"
    picture(draw_feature_maps, np.zeros((32, 32, 1), np.uint8), maps, title="Maps")


HOSTILE = [
    "$\\frac{",
    "$x$",
    "a\nb\tc",
    "\x00\x1b[31m",
    "名前" * 30,
    "x" * 100_000,
    "\u202etfel",
    "\U0001f469\u200d\U0001f469",
    "",
    " ",
    "%s {0}",
]


def test_a_class_may_be_called_anything():
    count = len(HOSTILE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture(draw_confusion_matrix, np.ones((count, count), int).tolist(), HOSTILE)
        pixels = np.zeros((8, 8, 1), np.uint8)
        picture(draw_predictions, [Shown(pixels, name, name[::-1], 0.5) for name in HOSTILE])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=60), min_size=2, max_size=2))
def test_two_classes_of_any_name_are_drawn(names):
    picture(draw_confusion_matrix, [[3, 1], [2, 4]], names)


@given(st.text(), st.integers(1, 30))
def test_a_shortened_name_is_on_one_line_and_no_longer_than_asked(name, most):
    short = shorten(name, most)
    assert len(short) <= most
    assert short.isprintable() or all(letter.isprintable() or letter.isspace() for letter in short)
    assert "\n" not in short


@given(st.text(max_size=50), st.floats(0.3, 3))
def test_a_fitted_name_is_as_broad_as_its_room(name, inches):
    assert text_inches(fit(name, inches, 8), 8) <= max(inches, text_inches("国", 8))


@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_plot_of_every_architecture_is_drawn(leave, architecture, color_mode):
    left = read_leavings(leave(architecture=architecture, color_mode=color_mode))
    drawn = dict(draw_plots(left))
    assert tuple(drawn) == PLOTS
    about = Image.open(io.BytesIO(drawn["history"])).info
    assert (about["Software"], about["Description"]) == ("lenet-platform", f"data {'d' * 64}, code 1+abc")


def test_equal_trainings_are_drawn_alike(leave):
    left = read_leavings(leave())
    assert dict(draw_plots(left)) == dict(draw_plots(left))


def test_plots_of_a_dataset_without_test_images_are_drawn(leave):
    assert tuple(dict(draw_plots(read_leavings(leave(test=False))))) == PLOTS

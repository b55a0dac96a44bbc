"""The report's figures, held against scikit-learn's and against counting by hand."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics

from core.datasets.packs import Pack
from core.domain.reports import MOST_THUMBNAILS, average_classes, measure_classes
from core.reporting.calibration import calibration_error, fill_bins
from core.reporting.labels import find_suspicions
from core.reporting.leaks import find_leaks
from core.reporting.reports import Answers, make_report, make_thumbnail

NONE = Answers(np.empty(0, np.int64), np.empty((0, 3), np.float32))


def report_on(pack, shares, *, validation=NONE, split="test"):
    positions = pack.indices(split)
    return make_report(
        pack,
        (answers := Answers(positions, shares)),
        unlearnt={"validation": validation, "test": answers},
        images={"train": 60, "validation": len(validation.positions), "test": len(positions)},
        loss=0.5,
        versions={},
        provenance={},
    )


def draw_shares(images, classes=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), images)


@pytest.fixture(scope="module")
def pack(make_pack):
    return Pack.open(make_pack())


def test_the_figures_are_those_of_scikit_learn(pack):
    shares = draw_shares(24)
    report = report_on(pack, shares)
    truth, predicted = pack.labels[pack.indices("test")], shares.argmax(axis=1)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    np.testing.assert_array_equal(report.confusion_matrix, metrics.confusion_matrix(truth, predicted))
    expected = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)
    ours = [(one.precision, one.recall, one.f1, one.support) for one in report.per_class]
    np.testing.assert_allclose(np.transpose(ours), expected)
    averages = report.averages
    macro = metrics.precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)[:3]
    assert (averages.precision, averages.recall, averages.f1) == pytest.approx(macro)
    tops = {top.k: top.accuracy for top in report.top_accuracy}
    assert tops == {1: pytest.approx(report.accuracy)}
    assert report.images == {"train": 60, "validation": 0, "test": 24}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_accuracy_among_the_most_probable_is_that_of_scikit_learn(make_pack, k):
    classes = tuple("abcdefg")
    pack = Pack.open(make_pack(classes=classes, splits={0: (2,) * 7, 2: (9,) * 7}))
    shares = draw_shares(63, 7)
    truth = pack.labels[pack.indices("test")]
    report = make_report(
        pack,
        (answers := Answers(pack.indices("test"), shares)),
        unlearnt={"test": answers},
        images={"test": 63},
        loss=None,
        versions={},
        provenance={},
    )
    (top,) = (top for top in report.top_accuracy if top.k == k)
    assert top.accuracy == pytest.approx(metrics.top_k_accuracy_score(truth, shares, k=k, labels=range(7)))


def test_the_averages_leave_out_classes_without_images():
    measures = measure_classes(("a", "b", "c"), [[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    averages = average_classes(measures)
    assert averages.recall == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert average_classes(measure_classes(("a",), [[0]])) is None


def test_without_test_images_nothing_is_claimed(make_pack):
    pack = Pack.open(make_pack(splits={0: (3, 3, 3)}))
    report = report_on(pack, np.empty((0, 3), np.float32))
    nothing = (None, None, None, None, [], [], [], 0)
    told = report.accuracy, report.averages, report.calibration_error, report.accuracy_without_leaks
    assert (*told, report.mistakes, report.top_accuracy, report.label_suspicions, report.leaked_images) == nothing


def test_mistakes_come_the_surest_first_with_the_picture_that_the_model_saw(pack):
    positions = pack.indices("test")
    shares = np.full((24, 3), 0.1)
    shares[np.arange(24), (pack.labels[positions] + 1) % 3] = np.linspace(0.5, 0.9, 24)
    mistakes = report_on(pack, shares).mistakes
    assert len(mistakes) == 24
    assert [one.confidence for one in mistakes] == sorted((one.confidence for one in mistakes), reverse=True)
    assert mistakes[0].path == pack.image_path(int(positions[-1]))
    picture = Image.open(io.BytesIO(base64.b64decode(mistakes[0].thumbnail.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(picture), pack.pixels[positions[-1]][..., 0])


def test_only_the_worst_mistakes_have_a_picture(make_pack):
    pack = Pack.open(make_pack(splits={0: (2, 2, 2), 2: (30, 30, 30)}))
    shares = np.full((90, 3), 0.1)
    shares[np.arange(90), (pack.labels[pack.indices("test")] + 1) % 3] = 0.8
    pictured = [one.thumbnail is not None for one in report_on(pack, shares).mistakes]
    assert pictured == [True] * MOST_THUMBNAILS + [False] * (90 - MOST_THUMBNAILS)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_picture_becomes_a_small_one(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, channels), dtype=np.uint8)
    picture = Image.open(io.BytesIO(base64.b64decode(make_thumbnail(pixels).partition(",")[2])))
    assert (picture.size, picture.mode) == ((64, 64), {1: "L", 3: "RGB"}[channels])


def test_a_model_that_is_as_often_right_as_sure_is_calibrated():
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    bins = fill_bins(confidence, right)
    assert [(one.images, one.accuracy) for one in bins] == [(400, 0.25), (400, 0.75)]
    assert calibration_error(bins) == pytest.approx(0)


def test_the_calibration_error_is_the_mean_gap_weighed_by_images():
    confidence = np.array([0.9, 0.9, 0.9, 0.55])
    bins = fill_bins(confidence, np.array([True, False, False, True]))
    assert calibration_error(bins) == pytest.approx(0.75 * abs(0.9 - 1 / 3) + 0.25 * 0.45)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80))
def test_every_image_is_in_one_bin(answers):
    confidence, right = (np.array(column) for column in zip(*answers, strict=True))
    bins = fill_bins(confidence, right)
    assert sum(one.images for one in bins) == len(answers)
    assert 0 <= calibration_error(bins) <= 1
    assert sum(one.images * one.accuracy for one in bins) == pytest.approx(right.sum())


def test_a_label_that_the_model_is_sure_against_is_suspicious():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.2, 0.8]])
    labels = np.array([0, 0, 0, 1, 1], np.int32)
    assert find_suspicions(shares, labels) == [(2, 1)]


def test_a_class_of_which_the_model_is_never_sure_claims_by_its_own_measure():
    """Class 1 is mostly given 0.4: an image of class 0 with 0.45 for it is claimed, though class 0 has 0.55."""
    shares = np.array([[0.95, 0.05], [0.9, 0.1], [0.55, 0.45], [0.6, 0.4], [0.62, 0.38]])
    labels = np.array([0, 0, 0, 1, 1], np.int32)
    assert find_suspicions(shares, labels) == [(2, 1)]


def test_the_most_suspicious_comes_first():
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.01, 0.99], [0.3, 0.7], [0.3, 0.7]])
    labels = np.array([0, 0, 0, 0, 1, 1], np.int32)
    assert find_suspicions(shares, labels) == [(3, 1), (2, 1)]


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(2, 6), st.integers(0, 99))
def test_no_image_is_suspected_of_its_own_label(images, classes, seed):
    shares = draw_shares(images, classes, seed) if images else np.empty((0, classes))
    labels = np.random.default_rng(seed).integers(0, classes, images).astype(np.int32)
    found = find_suspicions(shares, labels)
    assert all(labels[index] != suggested and suggested in labels for index, suggested in found)
    assert len({index for index, _ in found}) == len(found)


def test_swapped_labels_are_found_among_right_ones(make_pack):
    """Of 60 labels 6 are wrong, and a model that is right says so of each."""
    truth = np.repeat(np.arange(3), 20)
    labels = truth.copy()
    swapped = [0, 1, 20, 21, 40, 41]
    labels[swapped] = (labels[swapped] + 1) % 3
    shares = np.full((60, 3), 0.04)
    shares[np.arange(60), truth] = 0.92
    assert sorted(index for index, _ in find_suspicions(shares, labels.astype(np.int32))) == swapped


def test_suspicions_name_their_split_and_both_classes(make_pack):
    pack = Pack.open(make_pack(splits={0: (5, 5, 5), 1: (4, 4, 4), 2: (4, 4, 4)}))
    test, validation = pack.indices("test"), pack.indices("validation")

    def sure(positions):
        shares = np.full((len(positions), 3), 0.05)
        shares[np.arange(len(positions)), pack.labels[positions]] = 0.9
        return shares

    shares = sure(test)
    shares[0] = [0.02, 0.96, 0.02]
    wrong = sure(validation)
    wrong[-1] = [0.92, 0.04, 0.04]
    report = report_on(pack, shares, validation=Answers(validation, wrong))
    told = [(one.split, one.label, one.suggested, one.path) for one in report.label_suspicions]
    assert told == [
        ("test", "ant", "bee", pack.image_path(int(test[0]))),
        ("validation", "cat", "ant", pack.image_path(int(validation[-1]))),
    ]
    assert (report.label_suspicions[0].confidence, report.label_suspicions[0].label_probability) == (0.96, 0.02)
    assert report.label_suspicions[0].thumbnail.startswith("data:image/png;base64,")


def test_test_images_that_trained_are_left_out_of_the_second_accuracy(write_leaky_pack):
    pack = write_leaky_pack
    leaked = find_leaks(pack, pack.indices("test"))
    assert leaked.tolist() == [True, True, False, False, True]
    shares = np.full((5, 3), 0.2)
    right = pack.labels[pack.indices("test")]
    # Right for the three leaked images and wrong for one of the others.
    answers = [right[0], right[1], right[2], (right[3] + 1) % 3, right[4]]
    shares[np.arange(5), answers] = 0.6
    report = report_on(pack, shares)
    assert (report.leaked_images, report.accuracy, report.accuracy_without_leaks) == (3, 0.8, 0.5)


@pytest.fixture
def write_leaky_pack(tmp_path):
    """A pack of which test images 0, 1 and 4 stand in train; number 4 repeats number 0."""
    from core.datasets.packs import PackWriter

    pixels = np.random.default_rng(0).integers(0, 256, (9, 28, 28, 1), dtype=np.uint8)
    test = np.concatenate([pixels[[2, 5]], 255 - pixels[[0, 1]], pixels[[2]]])
    writer = PackWriter(tmp_path / "leaky", image_size=28, color_mode="grayscale")
    writer.append(np.concatenate([pixels, test]))
    writer.finish(
        labels=np.array([*range(3)] * 3 + [2, 2, 0, 1, 2], np.int32),
        splits=np.array([0] * 9 + [2] * 5, np.uint8),
        paths=[f"{number}.png" for number in range(14)],
        classes=("ant", "bee", "cat"),
    )
    return Pack.open(tmp_path / "leaky")

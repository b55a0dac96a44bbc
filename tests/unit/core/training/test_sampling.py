import numpy as np
import pytest

from core.domain.training_config import resolve
from core.training.sampling import keep_images, order_epoch, weigh_classes

# Positions 0–99 in the pack; the odd ones train. Classes 0, 1 and 3 have images, class 2 has none.
LABELS = np.array([0] * 60 + [1] * 30 + [3] * 10, np.int32)
TRAIN = np.arange(1, 100, 2)


def config(seed=0, **sampling):
    return resolve({"sampling": sampling, "seed": seed})


def count(positions):
    return np.bincount(LABELS[positions], minlength=4).tolist()


def test_without_options_all_images_train_in_a_new_order_each_epoch():
    assert keep_images(TRAIN, LABELS, config()) is TRAIN
    first, again, second = (order_epoch(TRAIN, LABELS, config(), epoch) for epoch in (1, 1, 2))
    assert first.tolist() == again.tolist() != second.tolist()
    assert sorted(second) == TRAIN.tolist()


@pytest.mark.parametrize(
    ("sampling", "counts"),
    [
        ({"fraction": 0.4}, [12, 6, 0, 2]),
        ({"max_per_class": 8}, [8, 8, 0, 5]),
        ({"fraction": 0.01}, [1, 1, 0, 1]),
    ],
)
def test_a_part_of_each_class_is_kept_for_the_whole_training(sampling, counts):
    kept = keep_images(TRAIN, LABELS, config(**sampling))
    assert count(kept) == counts
    assert kept.tolist() == sorted(set(kept))
    assert set(kept) <= set(TRAIN)
    assert kept.tolist() == keep_images(TRAIN, LABELS, config(**sampling)).tolist()


def test_the_seed_chooses_what_is_kept():
    assert (
        keep_images(TRAIN, LABELS, config(0, fraction=0.4)).tolist()
        != keep_images(TRAIN, LABELS, config(1, fraction=0.4)).tolist()
    )


def test_oversampling_takes_every_image_and_small_classes_as_often_as_it_needs():
    order = order_epoch(TRAIN, LABELS, config(balance="oversample"), 1)
    assert count(order) == [30, 30, 0, 30]
    times = np.bincount(order, minlength=100)
    assert set(times[LABELS == 0][1::2]) == {1}
    assert set(times[LABELS == 1][1::2]) == {2}
    assert set(times[LABELS == 3][1::2]) == {6}
    assert not times[::2].any()


def test_oversampling_takes_other_images_once_more_in_another_epoch():
    labels, train = np.array([0] * 10 + [1] * 7, np.int32), np.arange(17)
    extra = []
    for epoch in (1, 2, 3):
        times = np.bincount(order_epoch(train, labels, config(balance="oversample"), epoch), minlength=17)
        assert set(times[10:]) == {1, 2}
        assert times[10:].sum() == 10
        extra.append(tuple(times))
    assert len(set(extra)) > 1


def test_undersampling_takes_as_many_of_each_class_and_others_in_another_epoch():
    orders = [order_epoch(TRAIN, LABELS, config(balance="undersample"), epoch) for epoch in (1, 2)]
    assert [count(order) for order in orders] == [[5, 5, 0, 5]] * 2
    assert all(len(set(order)) == 15 for order in orders)
    assert set(orders[0]) != set(orders[1])


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
def test_a_balanced_epoch_is_shuffled(balance):
    labels = LABELS[order_epoch(TRAIN, LABELS, config(balance=balance), 1)]
    assert labels.tolist() != sorted(labels)


def test_every_class_weighs_alike_and_an_image_one_in_the_mean():
    weights = weigh_classes(TRAIN, LABELS, 4)
    counts = np.array(count(TRAIN))
    assert (weights * counts)[[0, 1, 3]] == pytest.approx([50 / 3] * 3)
    assert weights[2] == 0
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)

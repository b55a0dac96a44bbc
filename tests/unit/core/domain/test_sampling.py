import pytest

from core.domain.sampling import count_kept, count_taken
from core.domain.training_options import Sampling


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        ({}, [100, 10, 1, 0]),
        ({"fraction": 0.5}, [50, 5, 1, 0]),
        ({"fraction": 0.01}, [1, 1, 1, 0]),
        ({"max_per_class": 7}, [7, 7, 1, 0]),
        ({"fraction": 0.5, "max_per_class": 20}, [20, 5, 1, 0]),
    ],
)
def test_a_share_of_each_class_is_kept_and_at_least_one_image(sampling, kept):
    assert count_kept([100, 10, 1, 0], Sampling(**sampling)) == kept


@pytest.mark.parametrize(
    ("balance", "taken"),
    [
        ("none", [100, 10, 2, 0]),
        ("class_weights", [100, 10, 2, 0]),
        ("oversample", [100, 100, 100, 0]),
        ("undersample", [2, 2, 2, 0]),
    ],
)
def test_balanced_classes_have_as_many_images_in_an_epoch(balance, taken):
    assert count_taken([100, 10, 2, 0], Sampling(balance=balance)) == taken


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
def test_no_images_are_no_images(balance):
    assert count_taken([0, 0], Sampling(balance=balance)) == [0, 0]
    assert count_kept([], Sampling(balance=balance)) == []

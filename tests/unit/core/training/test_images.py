import numpy as np
import pytest

from core.datasets.packs import Pack
from core.domain.training_config import resolve
from core.training.images import fingerprint, split_images


def split_of(path, **options):
    return split_images(Pack.open(path), resolve(options))


def test_validation_is_held_out_of_each_class(make_pack):
    path = make_pack(splits={0: (20, 10, 40), 2: (3, 3, 3)})
    split = split_of(path, validation={"fraction": 0.2})
    labels = Pack.open(path).labels
    assert np.bincount(labels[split.validation]).tolist() == [4, 2, 8]
    assert np.bincount(labels[split.train]).tolist() == [16, 8, 32]
    assert not set(split.train) & set(split.validation)


def test_the_last_image_of_a_class_goes_on_training(make_pack):
    path = make_pack(splits={0: (1, 2, 3), 2: (1, 1, 1)})
    split = split_of(path, validation={"fraction": 0.5})
    assert set(Pack.open(path).labels[split.train]) == {0, 1, 2}


def test_a_class_without_images_is_passed_over(make_pack):
    split = split_of(make_pack(splits={0: (5, 0, 5), 2: (1, 0, 1)}))
    assert len(split.train) + len(split.validation) == 10


def test_the_datasets_own_validation_split_is_taken(make_pack):
    path = make_pack(splits={0: (6, 6, 6), 1: (2, 2, 2), 2: (1, 1, 1)})
    split = split_of(path, validation={"fraction": 0.5})
    assert split.validation.tolist() == Pack.open(path).indices("validation").tolist()
    assert len(split.train) == 18


def test_a_fraction_of_zero_holds_nothing_out(pack_path):
    split = split_of(pack_path, validation={"fraction": 0})
    assert len(split.validation) == 0


def test_the_seed_chooses_what_is_held_out(pack_path):
    held = [tuple(split_of(pack_path, seed=seed).validation) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize("other", [{"seed": 1}, {"classes": ("ant", "bee", "dog")}, {"splits": {0: (20, 20, 20)}}])
def test_other_data_has_another_fingerprint(make_pack, pack_path, other):
    assert fingerprint(Pack.open(make_pack())) == fingerprint(Pack.open(pack_path))
    assert fingerprint(Pack.open(make_pack(**other))) != fingerprint(Pack.open(pack_path))

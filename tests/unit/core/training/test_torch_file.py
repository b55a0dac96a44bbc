import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from core.training.torch_file import read_torch_file, write_torch_file

ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    np.arange(6, dtype=np.float32).reshape(2, 3).T,
    np.array([0.1, -0.0, np.inf, 1e-45], np.float32),
    np.array(7, np.int64),
    np.empty((0, 3), np.float32),
]


@pytest.fixture
def write(tmp_path):
    def write(**weights) -> Path:
        write_torch_file(tmp_path / "model.pth", weights)
        return tmp_path / "model.pth"

    return write


@pytest.mark.parametrize("array", ARRAYS)
def test_torch_reads_what_was_written(write, array):
    (name, tensor), *others = torch.load(write(weight=array), weights_only=True).items()
    assert (name, others) == ("weight", [])
    assert tensor.is_contiguous()
    assert not tensor.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), array, strict=True)


@pytest.mark.parametrize("array", ARRAYS)
def test_our_own_reader_reads_what_was_written(write, array):
    np.testing.assert_array_equal(read_torch_file(write(weight=array))["weight"], array, strict=True)


def test_names_and_order_are_kept(write):
    names = ["conv1.weight", "größe", "a"]
    path = write(**{name: np.full(3, place, np.float32) for place, name in enumerate(names)})
    loaded = torch.load(path, weights_only=True)
    assert list(loaded) == names
    assert [float(tensor[0]) for tensor in loaded.values()] == [0, 1, 2]


def test_a_net_takes_it_as_its_state(write):
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    path = write(**{name: tensor.numpy() for name, tensor in net.state_dict().items()})
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    other.load_state_dict(torch.load(path, weights_only=True))
    assert torch.equal(other[0].weight, net[0].weight)


def test_it_can_be_mapped(write):
    weights = np.arange(5, dtype=np.float32)
    assert torch.load(write(weights=weights), weights_only=True, mmap=True)["weights"].tolist() == [0, 1, 2, 3, 4]


def test_what_the_file_says_of_itself_is_passed_over_by_torch(tmp_path):
    about = {"classes": '["größe"]'}
    write_torch_file(tmp_path / "model.pth", {"weights": np.ones(2, np.float32)}, about)
    for options in ({}, {"mmap": True}):
        loaded = torch.load(tmp_path / "model.pth", weights_only=True, **options)
        assert {name: tensor.tolist() for name, tensor in loaded.items()} == {"weights": [1, 1]}
    with zipfile.ZipFile(tmp_path / "model.pth") as file:
        assert json.loads(file.read("model/lenet.json")) == about


def test_equal_weights_make_equal_bytes(write):
    first, again = (write(weights=np.arange(5, dtype=np.float32)).read_bytes() for _ in range(2))
    assert first == again

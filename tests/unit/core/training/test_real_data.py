"""Real digits, trained short: the whole figures are the tables' business."""

import gzip

import numpy as np
import pytest

from core.datasets.packs import PackWriter
from core.domain.training_config import resolve
from core.training import TrainingJob, train

NUMPY = {"preset": "lenet5-relu-max", "engine": "numpy", "batch_size": 32}


def read_idx(path):
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


@pytest.fixture
def digits(test_data, tmp_path):
    writer = PackWriter(tmp_path / "pack", image_size=28, color_mode="grayscale")
    labels, splits = [], []
    for split, name, count in ((0, "train", 12_000), (2, "t10k", 2_000)):
        writer.append(read_idx(test_data / "mnist" / f"{name}-images-idx3-ubyte.gz")[:count, ..., None])
        labels.append(read_idx(test_data / "mnist" / f"{name}-labels-idx1-ubyte.gz")[:count])
        splits.append(np.full(count, split, np.uint8))
    writer.finish(
        labels=np.concatenate(labels).astype(np.int32),
        splits=np.concatenate(splits),
        paths=["digit"] * 14_000,
        classes=[str(digit) for digit in range(10)],
    )
    return tmp_path / "pack"


@pytest.mark.real_data
@pytest.mark.parametrize(("options", "least"), [({}, 0.96), ({**NUMPY, "optimizer": {"learning_rate": 3e-3}}, 0.94)])
def test_real_digits_are_learnt_in_two_short_epochs(digits, tmp_path, make_observer, options, least):
    config = resolve({**options, "image_size": 28, "epochs": 2})
    result = train(TrainingJob(config, digits, tmp_path), make_observer())
    assert result.metrics.test_accuracy > least

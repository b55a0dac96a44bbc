"""The default on real digits, trained short: the whole figure is the tables' business."""

import gzip

import numpy as np
import pytest

from core.datasets.packs import PackWriter
from core.domain.training_config import resolve
from core.training import TrainingJob, train


def read_idx(path):
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


@pytest.mark.real_data
def test_the_default_learns_real_digits_in_two_short_epochs(test_data, tmp_path, make_observer):
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
    config = resolve({"image_size": 28, "epochs": 2})
    result = train(TrainingJob(config, tmp_path / "pack", tmp_path), make_observer())
    assert result.metrics.test_accuracy > 0.96

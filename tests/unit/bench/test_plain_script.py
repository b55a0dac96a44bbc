import json
import sys

import numpy as np
import pytest

from bench.noise_zip import write_noise_zip
from bench.peers import plain_script


@pytest.fixture
def ask(monkeypatch, capsys):
    """Run the script with arguments and return its answer."""

    def ask(*arguments: object) -> dict:
        monkeypatch.setattr(sys, "argv", ["plain_script", *map(str, arguments)])
        plain_script.main()
        return json.loads(capsys.readouterr().out)

    return ask


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_noise_zip(tmp_path_factory.mktemp("noise") / "noise.zip", 300, side=28)


@pytest.fixture
def mnist(tmp_path):
    """An MNIST of twenty images, each of whose test images is a training image too."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    for part in ("train", "t10k"):
        head = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in images.shape)
        raw.joinpath(f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = (np.arange(20) % 2).astype(np.uint8)
        raw.joinpath(f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x14" + labels.tobytes())
    return tmp_path


def test_an_archive_is_unpacked_and_its_training_images_are_trained_on(ask, archive):
    answer = ask("--zip", archive, "--epochs", 2)

    assert answer["images"] == 2 * 270
    assert len(answer["epoch_seconds"]) == 2
    assert answer["started_at"] < answer["first_step_at"] < answer["ended_at"]
    assert sum(answer["epoch_seconds"]) <= answer["ended_at"] - answer["started_at"]
    assert answer["accuracy"] is None


def test_so_many_images_or_steps_are_the_end(ask, archive):
    assert ask("--zip", archive, "--images", 100)["images"] == 100
    assert ask("--zip", archive, "--steps", 1, "--epochs", 5)["images"] == 64


def test_the_wide_net_trains_on_its_own_size(ask, archive, mnist):
    assert ask("--zip", archive, "--net", "wide", "--steps", 1)["images"] == 64
    assert ask("--mnist", mnist, "--net", "wide")["images"] == 20


def test_it_trains_until_it_is_accurate_and_no_longer(ask, mnist):
    never = ask("--mnist", mnist, "--epochs", 3, "--until-accuracy", 1.01)
    at_once = ask("--mnist", mnist, "--epochs", 3, "--until-accuracy", 0.0)

    assert (len(never["epoch_seconds"]), len(at_once["epoch_seconds"])) == (3, 1)
    assert 0 <= at_once["accuracy"] <= 1
    # Its looks at the test images are in the whole, and not in the epochs.
    assert sum(never["epoch_seconds"]) < never["ended_at"] - never["started_at"]


def test_a_folder_has_no_test_images_to_be_accurate_on(ask, tmp_path, capsys):
    with pytest.raises(SystemExit):
        ask("--folder", tmp_path, "--until-accuracy", 0.9)
    assert "no test images" in capsys.readouterr().err


def test_the_test_images_of_an_archive_are_looked_at_where_it_is_asked(ask, archive):
    answer = ask("--zip", archive, "--net", "color", "--epochs", 2, "--test")
    assert 0 <= answer["accuracy"] <= 1
    assert len(answer["epoch_seconds"]) == 2

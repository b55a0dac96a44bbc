import json

import numpy as np
import pytest
from safetensors import safe_open

from core.datasets.packs import Pack, PackWriter, digest_of, write_pack
from core.errors import IntegrityError


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a pack of random images and gives its path, digest and pixels."""

    def write(name="pack", *, count=7, size=5, color_mode="rgb", block=3):
        channels = 3 if color_mode == "rgb" else 1
        pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)
        writer = PackWriter(tmp_path / name, image_size=size, color_mode=color_mode)
        for start in range(0, count, block):
            writer.append(pixels[start : start + block])
        digest = writer.finish(
            labels=np.arange(count, dtype=np.int32) % 2,
            splits=np.arange(count, dtype=np.uint8) % 3,
            paths=[f"träin/{n}.png" for n in range(count)],
            classes=["a", "猫"],
        )
        return tmp_path / name, digest, pixels

    return write


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
@pytest.mark.parametrize("size", [4, 5])
def test_a_pack_gives_back_what_was_written(color_mode, size, written):
    path, digest, pixels = written(color_mode=color_mode, size=size)
    pack = Pack.open(path)
    assert digest == digest_of(path)
    assert np.array_equal(pack.pixels, pixels)
    assert pack.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert pack.indices("test").tolist() == [2, 5]
    assert (pack.classes, pack.color_mode, pack.image_size, len(pack)) == (("a", "猫"), color_mode, size, 7)
    assert [pack.image_path(n) for n in (0, 6)] == ["träin/0.png", "träin/6.png"]
    assert pack.labels.flags.aligned
    assert pack.labels.ctypes.data % 4 == pack._ends.ctypes.data % 8 == 0


def test_moments_are_those_of_the_training_split(written):
    path, _, pixels = written(count=30)
    pack = Pack.open(path)
    train = pixels[::3].reshape(-1, 3) / 255
    assert pack.mean == pytest.approx(tuple(train.mean(axis=0)))
    assert pack.deviation == pytest.approx(tuple(train.std(axis=0)))


def test_a_blank_dataset_divides_by_no_zero(tmp_path):
    writer = PackWriter(tmp_path / "pack", image_size=2, color_mode="grayscale")
    writer.append(np.zeros((1, 2, 2, 1), np.uint8))
    writer.finish(labels=np.zeros(1, np.int32), splits=np.zeros(1, np.uint8), paths=["x"], classes=["a"])
    assert Pack.open(tmp_path / "pack").deviation == (1 / 255,)


def test_equal_images_make_equal_bytes_however_they_come(written):
    assert written("one", block=1)[1] == written("other", block=7)[1]


def test_any_reader_of_safetensors_opens_a_pack(written):
    path, _, pixels = written()
    with safe_open(path, "np") as file:
        assert np.array_equal(file.get_tensor("pixels"), pixels)
        assert json.loads(file.metadata()["pack"])["classes"] == ["a", "猫"]


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_pack_cut_short_is_refused(keep, written):
    path, _, _ = written()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IntegrityError):
        Pack.open(path)


def test_a_number_of_images_that_does_not_fit_is_refused_and_leaves_no_pack(tmp_path):
    with pytest.raises(ValueError, match="1 images"):
        write_pack(
            tmp_path / "pack",
            [np.zeros((1, 2, 2, 1), np.uint8)],
            image_size=2,
            color_mode="grayscale",
            labels=np.zeros(2, np.int32),
            splits=np.zeros(2, np.uint8),
            paths=["a", "b"],
            classes=["a"],
        )
    assert not (tmp_path / "pack").exists()


def test_pixels_of_another_form_are_refused(tmp_path):
    writer = PackWriter(tmp_path / "pack", image_size=2, color_mode="rgb")
    with pytest.raises(ValueError, match="not uint8"):
        writer.append(np.zeros((1, 2, 2, 1), np.uint8))
    writer._raw.close()


def test_an_empty_pack_can_be_written_and_read(written):
    path, _, _ = written(count=0)
    assert len(Pack.open(path)) == 0

"""The bundle's program where nothing but NumPy and Pillow is installed, held against what the API answers with."""

import gzip
import json
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reading import read_arrays

from core.datasets.packs import PackWriter
from core.domain.training_config import resolve
from core.inference.predictions import predict_images
from core.inference.predictor import Predictor
from core.reporting.package import write_package
from core.training import TrainingJob, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
# Of probabilities that are rounded otherwise, as torch, ONNX Runtime and NumPy do.
CLOSE = 1e-4


class NobodyListens:
    def progress(self, progress):
        pass

    def epoch(self, result):
        pass

    def checkpoint(self, path, *, epoch, batch):
        pass

    def log(self, message):
        pass

    def command(self):
        return None


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """Return the Python of an environment with NumPy and Pillow, at the versions seen working, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--quiet", "--no-input", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, "numpy", "pillow"], check=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    names = {one["name"].lower() for one in json.loads(listed.stdout)}
    assert names <= {"numpy", "pillow", "pip", "setuptools"}
    return python


@pytest.fixture
def make_bundle(tmp_path):
    """Return the function that trains on images and unpacks the bundle; it returns the bundle's folder."""

    def make(pixels, labels, splits, *, classes, **options):
        channels = {1: "grayscale", 3: "rgb"}[pixels.shape[3]]
        config = resolve({"epochs": 1, "image_size": pixels.shape[1], **options})
        writer = PackWriter(tmp_path / "pack", image_size=pixels.shape[1], color_mode=channels)
        writer.append(pixels)
        writer.finish(
            labels=labels, splits=splits, paths=[f"{number}.png" for number in range(len(labels))], classes=classes
        )
        (tmp_path / "work").mkdir()
        result = train(TrainingJob(config, tmp_path / "pack", tmp_path / "work"), NobodyListens())
        write_package(tmp_path / "work", tuple(file.name for file in result.files))
        with zipfile.ZipFile(tmp_path / "work" / "bundle.zip") as archive:
            archive.extractall(tmp_path / "bundle")
        return tmp_path / "bundle"

    return make


def ask_program(python, bundle, *paths):
    """Return what the program says, run without anything of this environment."""
    command = [python, "-I", "-W", "error", bundle / "predict.py", "--json", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ask_api(bundle, files):
    """Return what `POST /jobs/{id}/predict` answers from."""
    predictor = Predictor.open(bundle / "model.onnx")
    images = [(str(file), file.read_bytes()) for file in files]
    return predict_images(predictor, images, top_k=1, max_pixels=40_000_000, read=read_arrays)


def assert_same(told, answers):
    assert [one["filename"] for one in told] == [one.filename for one in answers]
    assert [one["class"] for one in told] == [one.class_name for one in answers]
    for one, answer in zip(told, answers, strict=True):
        assert one["confidence"] == pytest.approx(answer.confidence, abs=CLOSE)


@pytest.mark.parametrize(
    "options", [{}, {"architecture": "lenet5-1998", "image_size": 32}, {"engine": "numpy"}], ids=str
)
def test_photos_of_any_kind_get_the_apis_answers(bare_python, make_bundle, tmp_path, options):
    draw = np.random.default_rng(0)
    labels = np.arange(240, dtype=np.int32) % 3
    pixels = (draw.integers(0, 60, (240, 32, 32, 3)) + labels[:, None, None, None] * 90).astype(np.uint8)
    splits = np.repeat(np.array([0, 2], np.uint8), [200, 40])
    bundle = make_bundle(pixels, labels, splits, classes=("ä b", "bee", "cat"), **options)
    files = []
    for number, (form, size) in enumerate(
        [("png", 32), ("jpg", 500), ("webp", 90), ("gif", 28), ("tif", 40), ("bmp", 7)]
    ):
        files.append(tmp_path / f"{number}.{form}")
        noise = draw.integers(0, 256, (size, 2 * size, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((size, size)).save(files[-1])
    assert_same(ask_program(bare_python, bundle, *files), ask_api(bundle, files))


def read_idx(path):
    data = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


@pytest.mark.real_data
@pytest.mark.parametrize("architecture", ["lenet5-bn", "lenet-wide"])
def test_the_whole_test_split_of_mnist_gets_the_apis_answers(
    bare_python, make_bundle, tmp_path, test_data, architecture
):
    images, labels, splits = [], [], []
    for split, name, count in ((0, "train", 6000), (2, "t10k", 10_000)):
        images.append(read_idx(test_data / "mnist" / f"{name}-images-idx3-ubyte.gz")[:count, ..., None])
        labels.append(read_idx(test_data / "mnist" / f"{name}-labels-idx1-ubyte.gz")[:count])
        splits.append(np.full(count, split, np.uint8))
    classes = tuple(str(digit) for digit in range(10))
    bundle = make_bundle(
        np.concatenate(images),
        np.concatenate(labels).astype(np.int32),
        np.concatenate(splits),
        classes=classes,
        architecture=architecture,
    )
    folder = tmp_path / "digits"
    folder.mkdir()
    files = [folder / f"{number:05}.png" for number in range(10_000)]
    for file, image in zip(files, images[1], strict=True):
        Image.fromarray(image[..., 0]).save(file)
    started = time.monotonic()
    told = ask_program(bare_python, bundle, folder)
    print(f"10,000 images in {time.monotonic() - started:.1f} s by {architecture}", file=sys.stderr)
    assert_same(told, ask_api(bundle, files))
    right = np.mean([one["class"] == str(label) for one, label in zip(told, labels[1], strict=True)])
    assert right == json.loads((bundle / "report.json").read_text())["accuracy"]

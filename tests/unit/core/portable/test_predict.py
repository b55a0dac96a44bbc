"""The program that travels with a model, held against the net, the served model and the platform's image reader."""

import io
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from core.datasets.images import read_array
from core.domain.architectures import ARCHITECTURES, layers
from core.domain.exports import ModelMetadata
from core.domain.layers import ActivationName, PoolingName
from core.domain.networks import describe_network
from core.domain.training_config import resolve
from core.errors import InvalidError
from core.inference.predictor import Predictor
from core.portable import predict
from core.portable.predict import Model, list_files, read_image
from core.training.arrays_file import write_arrays_file
from core.training.export import export_model
from core.training.nets import build_net

CLASSES = ("ant", "bee", "cat", "größte $x$ | Klasse")
SIZE = 32


def build(options, *, channels=3):
    """Return a net with random weights, the model of it, and what the platform serves."""
    torch.manual_seed(3)
    config = resolve(options)
    network = layers(config, classes=len(CLASSES))
    net = build_net(network, (channels, SIZE, SIZE), init=config.init)
    net.get_submodule("scaling").load_state_dict(
        {"scale": torch.full((channels, 1, 1), 1 / 60), "shift": torch.full((channels, 1, 1), -2.0)}
    )
    net(255 * torch.rand(32, channels, SIZE, SIZE))
    net.eval()
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    about = ModelMetadata(
        classes=CLASSES,
        image_size=SIZE,
        color_mode="rgb" if channels == 3 else "grayscale",
        architecture=config.architecture,
        layers=describe_network(network),
    )
    model = Model(json.loads(about.model_dump_json()), weights)
    return net, model, Predictor(export_model(network, weights, about, channels=channels)), (weights, about)


def draw(count, channels=3):
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, channels), dtype=np.uint8)


def answers(net, pixels):
    with torch.inference_mode():
        return net(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).numpy()


@pytest.mark.parametrize(("architecture", "channels"), [*product(ARCHITECTURES, (1, 3))])
def test_every_architecture_answers_as_the_net(architecture, channels):
    net, model, _, _ = build({"architecture": architecture}, channels=channels)
    for count in (1, 7, 300):
        pixels = draw(count, channels)
        np.testing.assert_allclose(model.logits(pixels), answers(net, pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", get_args(PoolingName))
@pytest.mark.parametrize("activation", get_args(ActivationName))
def test_every_activation_and_pooling_answers_as_the_net(activation, pooling):
    net, model, _, _ = build({"activation": activation, "pooling": pooling})
    pixels = draw(5)
    np.testing.assert_allclose(model.logits(pixels), answers(net, pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_feature_maps_are_those_of_the_served_model(architecture):
    _, model, served, _ = build({"architecture": architecture})
    pixels = draw(2)
    ours, theirs = model.feature_maps(pixels), served.feature_maps(pixels)
    assert [part.shape for part in ours] == [part.shape for part in theirs]
    for given, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)


def test_probabilities_add_up_to_one_and_are_those_of_the_served_model():
    _, model, served, _ = build({})
    shares = model.probabilities(draw(9))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares, served.predict(draw(9)), atol=1e-5)
    assert model.logits(draw(0)).shape == (0, 4)


def test_large_activations_overflow_nowhere():
    with np.errstate(over="raise", invalid="raise"):
        for name in get_args(ActivationName):
            given = predict._FUNCTIONS[name](np.array([-1e4, -80, 0, 80, 1e4], np.float32))
            assert np.isfinite(given).all()


def gradient(mode, size=(50, 37)):
    """Return an image of a mode whose pixels all differ in some way."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    bands = {"1": 1, "L": 1, "P": 1, "LA": 2, "I;16": 1, "I": 1, "F": 1, "RGB": 3, "YCbCr": 3, "LAB": 3, "HSV": 3}
    count = bands.get(mode, 4)
    values = np.stack([(x * (band + 3) + y * 5 * (band + 1)) % 256 for band in range(count)], axis=2).astype(np.uint8)
    made = {
        "1": lambda: Image.fromarray(values[..., 0]).convert("1"),
        "L": lambda: Image.fromarray(values[..., 0]),
        "P": lambda: Image.fromarray(np.repeat(values, 3, axis=2) // 2 + np.uint8([0, 40, 80])).quantize(40),
        "I;16": lambda: Image.fromarray(values[..., 0].astype(np.uint16) * 257),
        "I": lambda: Image.fromarray(values[..., 0].astype(np.int32) * 300),
        "F": lambda: Image.fromarray(values[..., 0].astype(np.float32) / 255),
    }
    return made.get(mode, lambda: Image.frombytes(mode, size, values.tobytes()))()


FILES = [
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "I;16", "RGB", "RGBA")),
    *(("TIFF", mode) for mode in ("1", "L", "LA", "P", "I;16", "I", "F", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("BMP", mode) for mode in ("1", "L", "P", "RGB")),
    *(("GIF", mode) for mode in ("L", "P", "RGB")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
]


def encode(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.fixture(scope="module", params=[1, 3], ids=["gray", "rgb"])
def model(request):
    return build({}, channels=request.param)[1]


def same_as_the_platform(data, model):
    expected = read_array(data, image_size=SIZE, color_mode=model.color_mode, max_pixels=40_000_000)
    np.testing.assert_array_equal(read_image(data, model), expected, strict=True)


@pytest.mark.parametrize(("form", "mode"), FILES)
def test_an_image_is_read_as_the_platform_reads_it(model, form, mode):
    same_as_the_platform(encode(gradient(mode), form), model)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_upright_as_the_platform_does(model, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    same_as_the_platform(encode(gradient("RGB"), form, exif=exif), model)


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (700, 300), (300, 700), (256, 256), (1, 1), (255, 1000)])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_every_size_is_fitted_as_the_platform_does(model, form, size):
    same_as_the_platform(encode(gradient("RGB", size), form), model)


def test_a_palette_with_a_transparent_colour_is_laid_over_white(model):
    same_as_the_platform(encode(gradient("P"), "PNG", transparency=3), model)
    same_as_the_platform(encode(gradient("L"), "PNG", transparency=7), model)
    same_as_the_platform(encode(gradient("P"), "GIF", transparency=3), model)


BROKEN = {
    "empty": b"",
    "text": b"no image at all",
    "cut": encode(gradient("RGB"), "PNG")[:90],
    "cut jpeg": encode(gradient("RGB"), "JPEG")[:200],
    "foreign": encode(gradient("RGB"), "PPM"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_the_platform_refuses_is_refused(model, name):
    with pytest.raises(InvalidError):
        read_array(BROKEN[name], image_size=SIZE, color_mode=model.color_mode, max_pixels=40_000_000)
    with pytest.raises(ValueError, match="it is no image, or is cut short or damaged"):
        read_image(BROKEN[name], model)


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(model):
    with pytest.raises(ValueError, match="too many pixels"):
        read_image(encode(Image.new("1", (7000, 7000)), "PNG"), model)
    with pytest.raises(ValueError, match="too many pixels"):
        read_image(encode(Image.new("1", (70_000, 2)), "PNG"), model)


@pytest.fixture
def folder(tmp_path):
    """A model beside its program, and a folder of pictures with what lies about in folders."""
    _, _, _, (weights, about) = build({}, channels=1)
    write_arrays_file(tmp_path / "model.npz", weights, about)
    (tmp_path / "predict.py").write_bytes(Path(predict.__file__).read_bytes())
    for name in ("b.png", "a.JPG", "sub/c.png", ".hidden.png", "__MACOSX/._b.png", "notes.txt"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        form = "JPEG" if name.endswith("JPG") else "PNG"
        path.write_bytes(encode(gradient("RGB"), form) if not name.endswith("txt") else b"notes")
    return tmp_path


def call(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", "predict.py", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1"},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_files_and_folders_are_predicted_in_the_order_given(folder):
    code, out, err = call(folder, "--json", "pictures/sub/c.png", "pictures")
    assert (code, err) == (0, "")
    told = json.loads(out)
    names = ["pictures/sub/c.png", "pictures/a.JPG", "pictures/b.png", "pictures/sub/c.png"]
    assert [one["filename"] for one in told] == names
    assert all(set(one) == {"filename", "class", "confidence"} for one in told)
    assert told[0]["class"] == told[3]["class"]
    # Sums over a batch may round differently from one place in it to another.
    assert told[0]["confidence"] == pytest.approx(told[3]["confidence"], abs=1e-6)
    model = Model.open(folder / "model.npz")
    shares = model.probabilities(read_image(folder / "pictures" / "b.png", model)[None])[0]
    assert told[2]["class"] == CLASSES[shares.argmax()]
    assert told[2]["confidence"] == pytest.approx(shares.max(), abs=1e-6)


def test_a_table_is_for_people(folder):
    code, out, _ = call(folder, "pictures/b.png")
    head, row = out.splitlines()
    assert (code, head.split()) == (0, ["file", "class", "confidence"])
    assert row.startswith("pictures/b.png  ")
    assert row.endswith(" %")


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_predicted(folder):
    code, out, err = call(folder, "--json", "pictures/notes.txt", "pictures/b.png", "nothing.png")
    assert code == 1
    assert [one["filename"] for one in json.loads(out)] == ["pictures/b.png"]
    assert err.splitlines() == [
        "predict.py: pictures/notes.txt: it is no image, or is cut short or damaged",
        "predict.py: nothing.png: no such file or directory",
    ]


def test_a_reader_that_has_read_enough_is_no_error(folder):
    command = f"{sys.executable} predict.py {'pictures/b.png ' * 3000} | head -1"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["file", "class", "confidence"], "")


def test_an_empty_folder_is_an_empty_list(folder):
    (folder / "empty").mkdir()
    assert call(folder, "--json", "empty")[:2] == (0, "[]\n")


@pytest.mark.parametrize("content", [None, b"", b"no model", b"PK\x05\x06" + bytes(18)])
def test_without_a_model_it_says_so(folder, content):
    (folder / "model.npz").unlink()
    if content is not None:
        (folder / "model.npz").write_bytes(content)
    code, out, err = call(folder, "pictures/b.png")
    assert (code, out) == (2, "")
    assert "model.npz" in err
    assert "Traceback" not in err


def test_another_model_can_be_named(folder):
    (folder / "model.npz").rename(folder / "other.npz")
    assert call(folder, "--model", "other.npz", "pictures/b.png")[0] == 0


def test_a_file_that_is_named_is_never_passed_over(tmp_path):
    (tmp_path / ".hidden.png").touch()
    given = [tmp_path / ".hidden.png", tmp_path / "nothing.txt"]
    assert list(list_files(given)) == given


def test_many_images_are_read_a_few_at_a_time(model, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "IMAGES_AT_ONCE", 2)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(encode(Image.new("L", (40, 40), 60 * number), "PNG"))
    waiting = iter(files)
    found = predict.predict_files(model, waiting, lambda *_: pytest.fail("all can be read"))
    assert next(found)["filename"] == str(files[0])
    assert next(waiting) == files[2]
    assert [one["filename"] for one in found] == [str(files[1]), str(files[3]), str(files[4])]

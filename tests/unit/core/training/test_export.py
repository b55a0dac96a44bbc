import io
from itertools import product
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from PIL import Image
from reading import read_arrays

from core.datasets.packs import Pack
from core.domain.architectures import ARCHITECTURES, layers
from core.domain.exports import ModelMetadata
from core.domain.layers import ActivationName, Flatten, PoolingName, Scaling
from core.domain.training_config import resolve
from core.inference.predictions import predict_images
from core.inference.predictor import Predictor
from core.training.export import export_model, run_exported
from core.training.nets import build_net

ABOUT = ModelMetadata(classes=("a", "b", "c", "d"), image_size=32, color_mode="rgb", architecture="lenet5")


def export(options, *, channels=3):
    torch.manual_seed(3)
    config = resolve(options)
    network = layers(config, classes=4)
    net = build_net(network, (channels, 32, 32), init=config.init)
    net.get_submodule("scaling").load_state_dict(
        {"scale": torch.full((channels, 1, 1), 1 / 60), "shift": torch.full((channels, 1, 1), -2.0)}
    )
    net(255 * torch.rand(32, channels, 32, 32))
    net.eval()
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    return net, export_model(network, weights, ABOUT, channels=channels)


def draw(count, channels=3):
    return np.random.default_rng(1).integers(0, 256, (count, 32, 32, channels), dtype=np.uint8)


def answers(net, pixels):
    with torch.inference_mode():
        return net(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).numpy()


@pytest.mark.parametrize(("architecture", "channels"), [*product(ARCHITECTURES, (1, 3))])
def test_the_exported_model_answers_as_the_net(architecture, channels):
    net, model = export({"architecture": architecture}, channels=channels)
    session = onnxruntime.InferenceSession(model)
    for count in (1, 7):
        pixels = draw(count, channels)
        (logits,) = session.run(["logits"], {"image": pixels})
        np.testing.assert_allclose(logits, answers(net, pixels), rtol=1e-4, atol=1e-4)


def test_a_gray_model_takes_every_colour_for_the_gray_that_pillow_makes_of_it():
    """Two to the 24th colours: all that there are."""
    side = 256
    network = [Scaling(name="scaling"), Flatten(name="flatten")]
    weights = {"scaling.scale": np.ones((1, 1, 1), np.float32), "scaling.shift": np.zeros((1, 1, 1), np.float32)}
    about = ABOUT.model_copy(update={"image_size": side})
    session = onnxruntime.InferenceSession(export_model(network, weights, about, channels=1))
    levels = np.arange(side, dtype=np.uint8)
    colors = np.empty((side, side, 3), np.uint8)
    colors[..., 1], colors[..., 2] = levels[:, None], levels
    for red in levels:
        colors[..., 0] = red
        (grays,) = session.run(["logits"], {"image": colors[None]})
        np.testing.assert_array_equal(grays[0], np.asarray(Image.fromarray(colors).convert("L")).ravel())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3])
def test_gray_and_coloured_images_of_equal_pixels_get_the_same_answer(architecture, channels):
    _, model = export({"architecture": architecture}, channels=channels)
    session, gray = onnxruntime.InferenceSession(model), draw(7, 1)
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {"image": gray}), session.run(names, {"image": np.repeat(gray, 3, axis=3)})
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [2, 4])
def test_images_of_other_numbers_of_channels_are_refused(channels, count):
    _, model = export({}, channels=channels)
    with pytest.raises(Fail):
        onnxruntime.InferenceSession(model).run(["logits"], {"image": draw(1, count)})


@pytest.mark.parametrize("pooling", get_args(PoolingName))
@pytest.mark.parametrize("activation", get_args(ActivationName))
def test_every_activation_is_exported(activation, pooling):
    net, model = export({"activation": activation, "pooling": pooling})
    pixels = draw(5)
    (logits,) = onnxruntime.InferenceSession(model).run(["logits"], {"image": pixels})
    np.testing.assert_allclose(logits, answers(net, pixels), rtol=1e-4, atol=1e-4)


def test_the_feature_maps_are_those_of_each_convolution():
    net, model = export({"architecture": "lenet-wide", "activation": "relu"})
    pixels = draw(2)
    maps = Predictor(model).feature_maps(pixels)
    assert [part.shape for part in maps] == [(2, 32, 32, 32), (2, 64, 16, 16), (2, 128, 8, 8)]
    scaled = net.get_submodule("scaling")(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    first = torch.relu(net.get_submodule("norm1")(net.get_submodule("conv1")(scaled)))
    np.testing.assert_allclose(maps[0], first.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_the_papers_feature_maps_are_those_of_its_convolutions():
    _, model = export({"architecture": "lenet5-1998"})
    maps = Predictor(model).feature_maps(draw(2))
    assert [part.shape for part in maps] == [(2, 6, 28, 28), (2, 16, 10, 10), (2, 120, 1, 1)]


def test_the_papers_probabilities_fall_with_the_distance_from_a_class_code():
    net, model = export({"architecture": "lenet5-1998"})
    pixels = draw(3)
    distances = -answers(net, pixels)
    assert (distances > 0).all()
    shares = Predictor(model).predict(pixels)
    weighed = np.exp(distances.min(axis=1, keepdims=True) - distances)
    np.testing.assert_allclose(shares, weighed / weighed.sum(axis=1, keepdims=True), atol=1e-4)


def test_probabilities_are_the_softmax_of_the_logits():
    net, model = export({})
    pixels = draw(3)
    expected = torch.from_numpy(answers(net, pixels)).softmax(dim=1).numpy()
    np.testing.assert_allclose(Predictor(model).predict(pixels), expected, atol=1e-5)


def test_the_file_is_a_conservative_one_with_metadata():
    _, data = export({})
    model = onnx.load_from_string(data)
    assert (model.ir_version, model.opset_import[0].version) == (8, 13)
    assert ModelMetadata.parse({entry.key: entry.value for entry in model.metadata_props}) == ABOUT


def test_a_file_that_the_runtime_cannot_use_is_told(tmp_path):
    _, model = export({})
    (tmp_path / "model.onnx").write_bytes(model[: len(model) // 2])
    with pytest.raises(ValueError, match="cannot use"):
        run_exported(tmp_path / "model.onnx", draw(1))


@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
def test_predictions_on_image_files_equal_the_trainers_own(run, read_weights, make_pack, color_mode):
    path = make_pack(color_mode=color_mode)
    _, _, files = run({"architecture": "lenet5-bn"}, pack=path)
    pack = Pack.open(path)
    pixels = pack.pixels[pack.indices("test")]

    config = resolve({"architecture": "lenet5-bn", "image_size": 28})
    net = build_net(layers(config, classes=3), (pack.channels, 28, 28)).eval()
    net.load_state_dict(read_weights(files["model.pth"]))
    expected = torch.from_numpy(answers(net, pixels)).softmax(dim=1).numpy()

    sent = [(f"{index}.png", encode(image)) for index, image in enumerate(pixels)]
    predictions = predict_images(
        Predictor.open(files["model.onnx"]), sent, top_k=3, max_pixels=10_000, read=read_arrays
    )
    assert [prediction.filename for prediction in predictions] == [name for name, _ in sent]
    for prediction, row in zip(predictions, expected, strict=True):
        shares = {ranked.class_name: ranked.probability for ranked in prediction.top}
        assert [shares[name] for name in pack.classes] == pytest.approx(row, abs=1e-4)


def encode(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()

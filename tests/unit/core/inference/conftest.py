"""A small model with drawn weights, exported; and image files."""

import io

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from core.domain.architectures import layers
from core.domain.exports import ModelMetadata
from core.domain.training_config import resolve
from core.training.export import export_model
from core.training.nets import build_net


@pytest.fixture(scope="session")
def make_model():
    """Return a function that exports a net with drawn weights."""

    def make(*, classes=("ant", "bee", "cat"), color_mode="grayscale", seed=0) -> bytes:
        torch.manual_seed(seed)
        channels = 1 if color_mode == "grayscale" else 3
        config = resolve({"architecture": "lenet5", "image_size": 28})
        network = layers(config, classes=len(classes))
        net = build_net(network, (channels, 28, 28))
        net.get_submodule("scaling").scale.fill_(1 / 255)
        metadata = ModelMetadata(classes=classes, image_size=28, color_mode=color_mode, architecture="lenet5")
        weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
        return export_model(network, weights, metadata, channels=channels)

    return make


@pytest.fixture(scope="session")
def model(make_model):
    return make_model()


@pytest.fixture(scope="session")
def older_model(make_model):
    """A gray model as it was exported before the graph made images gray: it takes one channel."""
    model = onnx.load_from_string(make_model(seed=1))
    nodes = model.graph.node
    transposed = next(node for node in nodes if node.op_type == "Transpose").output[0]
    start, end = ([node.op_type for node in nodes].index(kind) for kind in ("Mul", "Floor"))
    nodes[end + 1].input[0] = transposed
    del nodes[start : end + 1]
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 1
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def make_image():
    """Return a function that encodes a drawn picture."""

    def make(seed=0, *, size=(28, 28), mode="L", kind="PNG") -> bytes:
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        return buffer.getvalue()

    return make

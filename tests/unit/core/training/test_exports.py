"""Every export is read again and compared with the net: one that answers otherwise is never published."""

import json
import zipfile
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from core.datasets.packs import Pack
from core.domain.architectures import ARCHITECTURES
from core.domain.exports import ModelMetadata
from core.errors import TrainingError
from core.inference.predictor import Predictor
from core.portable.predict import Model
from core.reporting.golden import GOLDEN, Golden
from core.training import exports
from core.training.torch_file import read_torch_file, write_torch_file

MODELS = ("model.pth", "model.safetensors", "model.npz", "model.onnx")
WRITERS = {
    "model.pth": "write_torch_file",
    "model.safetensors": "write_weights_file",
    "model.npz": "write_arrays_file",
    "model.onnx": "export_model",
}


def disturb(weights):
    """Change one weight of the last layer by a little: every answer of one class is then off by as much."""
    return {**weights, "classes.bias": weights["classes.bias"] + np.array([0.01, 0, 0], np.float32)}


@pytest.mark.parametrize("engine", ["torch", "numpy"])
@pytest.mark.parametrize("name", MODELS)
def test_an_export_that_answers_otherwise_fails_the_training(run, monkeypatch, name, engine):
    write = getattr(exports, WRITERS[name])

    def write_wrongly(first, weights, *rest, **options):
        return write(first, disturb(weights), *rest, **options)

    monkeypatch.setattr(exports, WRITERS[name], write_wrongly)
    with pytest.raises(TrainingError) as caught:
        run({"epochs": 1, "engine": engine})
    assert caught.value.code == "export_mismatch"
    assert caught.value.detail == f"{name} answers otherwise than the trained net: the logits differ by up to 0.01."


@pytest.fixture
def written(run):
    _, _, files = run({"epochs": 1})
    folder = files["model.npz"].parent
    about = Predictor.open(files["model.onnx"]).metadata
    return files, Golden.load(folder / GOLDEN), about


@pytest.mark.parametrize("name", MODELS)
def test_an_export_that_is_cut_short_is_refused(written, name):
    files, golden, about = written
    files[name].write_bytes(files[name].read_bytes()[:-1000])
    with pytest.raises(TrainingError, match="cannot be read again") as caught:
        exports.verify(name, files[name], golden, about)
    assert caught.value.code == "export_mismatch"


def test_an_export_for_other_classes_is_refused(written, tmp_path):
    files, golden, about = written
    weights = read_torch_file(files["model.pth"])
    fewer = {**weights, "classes.weight": weights["classes.weight"][:2], "classes.bias": weights["classes.bias"][:2]}
    write_torch_file(tmp_path / "model.pth", fewer)
    with pytest.raises(TrainingError, match="answers otherwise"):
        exports.verify("model.pth", tmp_path / "model.pth", golden, about)


ENGINES = [*product(["torch"], ARCHITECTURES), ("numpy", "lenet5")]


@pytest.mark.parametrize(("engine", "architecture"), ENGINES)
@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
def test_every_export_answers_all_test_images_alike(run, make_pack, engine, architecture, color_mode):
    path = make_pack(size=32, color_mode=color_mode)
    options = {"engine": engine, "architecture": architecture, "image_size": 32, "epochs": 1}
    _, _, files = run(options, pack=path)
    pack = Pack.open(path)
    pixels = pack.pixels[pack.indices("test")]
    about = Predictor.open(files["model.onnx"]).metadata
    plain = about.model_dump(mode="json")
    torch_weights = {name: one.numpy() for name, one in torch.load(files["model.pth"], weights_only=True).items()}
    answers = [
        Model(plain, torch_weights).probabilities(pixels),
        Model(plain, load_file(files["model.safetensors"])).probabilities(pixels),
        Model.open(files["model.npz"]).probabilities(pixels),
        Predictor.open(files["model.onnx"]).predict(pixels),
    ]
    for given in answers[1:]:
        np.testing.assert_allclose(given, answers[0], atol=1e-4)


def test_the_arrays_say_what_they_are(written):
    files, _, about = written
    with np.load(files["model.npz"], allow_pickle=False) as file:
        assert ModelMetadata.model_validate_json(file["metadata"].tobytes()) == about
        weights = {name: file[name] for name in file.files if name != "metadata"}
    expected = load_file(files["model.safetensors"])
    assert weights.keys() == expected.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


def test_torchs_own_files_are_read_without_torch(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    torch.save(net.state_dict(), tmp_path / "model.pth")
    weights = read_torch_file(tmp_path / "model.pth")
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(weights[name], tensor.numpy(), strict=True)


def test_a_view_of_a_tensor_is_read_as_it_is_seen(tmp_path):
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    torch.save({"part": whole[1:3].T}, tmp_path / "model.pth")
    np.testing.assert_array_equal(read_torch_file(tmp_path / "model.pth")["part"], whole[1:3].T.numpy())


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_a_weights_file_runs_nothing(tmp_path, capsys):
    torch.save({"weight": Harmful()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="does not hold the weights"):
        read_torch_file(tmp_path / "model.pth")
    assert capsys.readouterr().out == ""


def test_a_zip_that_holds_something_else_is_no_weights_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as file:
        file.writestr("readme.txt", "nothing")
    with pytest.raises(ValueError, match="not enough values"):
        read_torch_file(tmp_path / "model.pth")


def test_every_model_says_what_it_was_made_of(run, make_job):
    _, _, files = run({"epochs": 1, "seed": 4}, dataset={"archive_sha256": "a" * 64}, threads=1)
    told = Predictor.open(files["model.onnx"]).metadata.provenance
    assert (told["archive_sha256"], told["seed"], told["device"], told["threads"]) == ("a" * 64, "4", "cpu", "1")
    assert told.keys() >= {"data", "config", "code", "processor", "torch", "numpy", "onnx", "python", "lenet-platform"}
    assert Model.open(files["model.npz"]).about["provenance"] == told
    with zipfile.ZipFile(files["model.pth"]) as file:
        kept = json.loads(file.read("model/lenet.json"))
    assert ModelMetadata.parse(kept) == Predictor.open(files["model.onnx"]).metadata
    assert json.loads(files["report.json"].read_text())["provenance"] == told


def test_a_warm_start_says_what_it_started_from(run):
    _, _, first = run({"epochs": 1})
    _, _, files = run({"epochs": 1}, initial_weights=first["model.safetensors"])
    assert len(Model.open(files["model.npz"]).about["provenance"]["initial_weights"]) == 64
    assert "initial_weights" not in Model.open(first["model.npz"]).about["provenance"]

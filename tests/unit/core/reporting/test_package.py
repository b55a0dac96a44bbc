import hashlib
import io
import json
import zipfile

import numpy as np
import pytest

from core.datasets.packs import Pack
from core.domain.architectures import ARCHITECTURES
from core.domain.plots import PLOTS
from core.portable.predict import Model, read_image
from core.reporting.golden import Golden, choose_golden
from core.reporting.package import read_leavings, write_package

KEPT = ("model.npz", "report.json", "history.csv")
ODD = ("`a`|b", "two\nlines", "*bold* <b>", "x" * 400)


@pytest.fixture
def bundle(leave):
    """Return the function that packs a training; it returns its folder and the open archive."""

    def bundle(**options):
        folder = leave(**options)
        write_package(folder, KEPT)
        return folder, zipfile.ZipFile(io.BytesIO((folder / "bundle.zip").read_bytes()))

    return bundle


def test_every_file_is_told_with_its_kind_and_is_there(leave):
    folder = leave()
    written = write_package(folder, KEPT)
    plots = {f"{name}.png": "image/png" for name in PLOTS}
    assert written == {**plots, "provenance.json": "application/json", "bundle.zip": "application/zip"}
    assert all((folder / name).stat().st_size for name in written)


def test_the_archive_has_all_that_was_kept_and_what_explains_it(bundle):
    folder, archive = bundle()
    golden = [f"golden/{number:02}.png" for number in range(6)]
    plots = [f"plots/{name}.png" for name in PLOTS]
    texts = ["README.md", "MODEL_CARD.md", "classes.json", "predict.py", "provenance.json"]
    assert archive.namelist() == sorted([*KEPT, *golden, "golden/expected.json", *plots, *texts])
    assert archive.testzip() is None
    for name in KEPT:
        assert archive.read(name) == (folder / name).read_bytes()
    assert json.loads(archive.read("classes.json")) == ["ant", "bee", "cat"]


def test_equal_trainings_make_equal_archives(leave):
    folder = leave()
    write_package(folder, KEPT)
    first = (folder / "bundle.zip").read_bytes()
    write_package(folder, KEPT)
    assert (folder / "bundle.zip").read_bytes() == first


def test_provenance_has_the_hash_of_every_file(bundle):
    folder, _ = bundle()
    told = json.loads((folder / "provenance.json").read_text())
    assert told["config"] == {"preset": "x", "epochs": 2}
    assert told["data"] == "d" * 64
    assert set(told["sha256"]) == {*KEPT, *(f"{name}.png" for name in PLOTS)}
    for name, digest in told["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("color_mode", ["grayscale", "rgb"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_golden_images_get_the_expected_answers_from_the_archive_alone(bundle, tmp_path, architecture, color_mode):
    _, archive = bundle(architecture=architecture, color_mode=color_mode)
    (tmp_path / "bundle").mkdir()
    archive.extractall(tmp_path / "bundle")
    model = Model.open(tmp_path / "bundle" / "model.npz")
    for told in json.loads(archive.read("golden/expected.json")):
        image = read_image(tmp_path / "bundle" / "golden" / told["file"], model)[None]
        np.testing.assert_allclose(model.logits(image)[0], told["logits"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(model.probabilities(image)[0], told["probabilities"], atol=1e-4)
        assert told["class"] == model.classes[int(np.argmax(told["logits"]))]


def test_golden_images_come_from_every_class_in_turn(make_pack):
    pack = Pack.open(make_pack(splits={0: (1, 1, 1), 2: (60, 2, 5)}))
    chosen = choose_golden(pack, pack.indices("test"))
    assert len(chosen) == len({*chosen.tolist()}) == 32
    assert np.bincount(pack.labels[chosen]).tolist() == [25, 2, 5]
    few = choose_golden(pack, pack.indices("train"))
    assert few.tolist() == pack.indices("train").tolist()


def test_golden_images_are_read_back_as_they_were_written(make_pack, tmp_path):
    pack = Pack.open(make_pack(color_mode="rgb"))
    positions = choose_golden(pack, pack.indices("test"))
    logits = np.random.default_rng(0).normal(size=(len(positions), 3)).astype(np.float32)
    golden = Golden.take(pack, positions, logits)
    golden.save(tmp_path / "golden.npz")
    again = Golden.load(tmp_path / "golden.npz")
    np.testing.assert_array_equal(again.pixels, pack.pixels[positions])
    np.testing.assert_array_equal(again.logits, logits)
    assert again.paths == tuple(pack.image_path(int(position)) for position in positions)


def test_the_page_says_the_shapes_that_the_model_takes(bundle):
    _, archive = bundle(color_mode="rgb")
    page = archive.read("README.md").decode()
    assert "uint8, `(batch, 32, 32, channels)`" in page
    assert "are made red, green and blue" in page
    assert "`feature_maps_1` to\n`feature_maps_2`" in page


def test_the_pages_example_runs(bundle, tmp_path, monkeypatch):
    """Its last block needs the ONNX file, which this folder's training has not written: a real one stands in."""
    from core.domain.architectures import layers
    from core.domain.exports import ModelMetadata
    from core.domain.training_config import resolve
    from core.training.export import export_model

    folder, archive = bundle()
    archive.extractall(tmp_path / "bundle")
    left = read_leavings(folder)
    network = layers(resolve({"architecture": "lenet5", "image_size": 32}), classes=3)
    about = ModelMetadata.model_validate(left.model.about)
    onnx = export_model(network, left.model._weights, about, channels=1)
    (tmp_path / "bundle" / "model.onnx").write_bytes(onnx)
    block = archive.read("README.md").decode().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path / "bundle")
    names = {}
    exec(block, names)
    expected = json.loads(archive.read("golden/expected.json"))[0]["probabilities"]
    np.testing.assert_allclose(names["probabilities"][0], expected, atol=1e-4)


def test_the_card_tells_how_good_it_is_and_what_to_mind(bundle):
    folder, archive = bundle()
    card = archive.read("MODEL_CARD.md").decode()
    report = read_leavings(folder).report
    assert f"| accuracy | {report.accuracy:.2%} |" in card
    assert "Images of its dataset: 6 for train, 0 for validation, 6 for test." in card
    assert "3 classes have fewer than 20 test images" in card
    assert f"| data | {'d' * 64} |" in card


def test_the_card_of_a_model_without_test_images_claims_nothing(bundle):
    _, archive = bundle(test=False)
    card = archive.read("MODEL_CARD.md").decode()
    assert "Nobody knows: its dataset has no test images." in card
    assert "Without test images nothing is known of its accuracy." in card


def test_no_class_breaks_the_cards_tables(bundle):
    _, archive = bundle(classes=ODD)
    rows = [line for line in archive.read("MODEL_CARD.md").decode().splitlines() if line.startswith("| `")]
    assert len(rows) == 4
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6
        assert row.count("`") == 2

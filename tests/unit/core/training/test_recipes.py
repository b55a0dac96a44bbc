"""Every recipe trains, small: its figures on real data are the tables' business."""

import json
import tomllib
from pathlib import Path

import pytest

import core.domain
from core.domain.presets import DEFAULT_PRESET, PRESETS
from core.domain.training_config import TrainingConfig, resolve
from core.training import TrainingJob, train

FILES = sorted(Path(core.domain.__file__).parent.joinpath("recipes").glob("*.toml"))


@pytest.fixture(scope="session")
def packs(make_pack):
    """Return a function that gives the pack of a size and a colour mode, each made once."""
    made = {}

    def find(size, color_mode):
        if (size, color_mode) not in made:
            splits = {0: (40, 40, 40), 2: (20, 20, 20)}
            made[size, color_mode] = make_pack(splits=splits, size=size, color_mode=color_mode)
        return made[size, color_mode]

    return find


@pytest.mark.parametrize(
    ("recipe", "color_mode"), [*((recipe, "grayscale") for recipe in PRESETS), (DEFAULT_PRESET, "rgb"), ("best", "rgb")]
)
def test_a_recipe_learns_small_data(recipe, color_mode, packs, tmp_path, make_observer):
    # Sigmoids creep at first.
    epochs = 30 if recipe == "lenet5-sigmoid" else 10
    config = resolve({"preset": recipe, "epochs": epochs, "batch_size": 8})
    result = train(TrainingJob(config, packs(config.image_size, color_mode), tmp_path), make_observer())
    assert result.metrics.test_accuracy > 0.6
    stored = json.loads((tmp_path / "config.json").read_text())
    assert TrainingConfig.model_validate(stored).preset == recipe


def test_every_file_is_a_preset_and_the_default_stands_first():
    assert {file.stem for file in FILES} == set(PRESETS)
    assert next(iter(PRESETS)) == DEFAULT_PRESET


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_holds_a_title_and_options_alone(file):
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    assert set(content) == {"title", "options"}
    assert set(content["options"]) <= set(TrainingConfig.model_fields) - {"preset", "seed"}


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("lenet5-1998", {"architecture": "lenet5-1998", "loss": "map", "epochs": 20, "activation": "scaled_tanh"}),
        ("lenet5-1998", {"init": "lecun_1998", "normalize": "lecun_1998", "pooling": "subsampling"}),
        ("lenet5-sigmoid", {"activation": "sigmoid", "pooling": "avg", "init": "xavier_uniform"}),
        ("lenet5-relu-max", {"activation": "relu", "pooling": "max"}),
        ("lenet-wide", {"batch_size": 128, "epochs": 10, "dropout": 0.3}),
        ("best", {"architecture": "lenet-deep"}),
        ("fast", {"epochs": 1}),
    ],
)
def test_a_recipe_is_what_its_name_says(recipe, options):
    config = resolve({"preset": recipe}).plain()
    assert {name: config[name] for name in options} == options


@pytest.mark.parametrize("recipe", ["lenet5-modern", "fast", "best"])
def test_no_recipe_of_ours_flips(recipe):
    drawn = resolve({"preset": recipe}).augmentation
    assert isinstance(drawn, str) or not (drawn.horizontal_flip or drawn.vertical_flip)

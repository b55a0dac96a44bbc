import json
import math

import pytest

from core.domain.architectures import ARCHITECTURES
from core.domain.codes import draw_codes
from core.domain.presets import PRESETS
from core.domain.training_config import TrainingConfig, check, resolve, settle
from core.errors import InvalidError


def faults_of(raw, base=None):
    with pytest.raises(InvalidError) as caught:
        resolve(raw, base)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def test_an_empty_config_is_the_default_preset():
    config = resolve({})
    assert config.preset == "lenet5-modern"
    assert config.architecture == "lenet5-bn"
    assert config.optimizer.name == "muon"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resolves_and_survives_storing(preset):
    config = resolve({"preset": preset})
    stored = json.loads(json.dumps(config.plain()))
    assert TrainingConfig.model_validate(stored) == config
    assert resolve(stored) == config


def test_options_beside_a_preset_override_it():
    config = resolve({"preset": "lenet-wide", "epochs": 3, "optimizer": {"weight_decay": 0.5}})
    assert config.epochs == 3
    assert config.optimizer.weight_decay == 0.5
    assert config.optimizer.learning_rate == PRESETS["lenet-wide"].options["optimizer"]["learning_rate"]


def test_another_optimizer_brings_its_own_defaults():
    config = resolve({"optimizer": {"name": "sgd"}})
    assert config.optimizer.model_dump() == {
        "name": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.0,
    }


def test_the_architecture_brings_what_is_left_out():
    assert resolve({"architecture": "lenet5"}).batch_norm is False
    assert resolve({"architecture": "lenet-wide"}).dense == (64,)
    assert resolve({"architecture": "lenet-wide", "dropout": 0.1}).dropout == 0.1


def test_a_base_stands_over_the_default_preset_and_under_what_is_sent():
    base = resolve({"preset": "lenet-wide", "epochs": 7, "seed": 3}).plain()
    config = resolve({"seed": 4}, base)
    assert (config.preset, config.epochs, config.seed) == ("lenet-wide", 7, 4)


def test_a_preset_that_is_sent_stands_over_the_base():
    base = resolve({"epochs": 7, "seed": 3, "batch_size": 9}).plain()
    config = resolve({"preset": "lenet-wide"}, base)
    assert (config.architecture, config.epochs, config.seed) == ("lenet-wide", 10, 3)
    assert config.dense == (64,)


def test_another_architecture_over_a_base_brings_its_own_layers():
    base = resolve({"architecture": "lenet5-bn"}).plain()
    assert resolve({"architecture": "lenet5"}, base).batch_norm is False


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        ({"epochs": True}, "/config/epochs"),
        ({"epochs": "10"}, "/config/epochs"),
        ({"epochs": 3.0}, "/config/epochs"),
        ({"epochs": math.nan}, "/config/epochs"),
        ({"epochs": 0}, "/config/epochs"),
        ({"epochs": 1001}, "/config/epochs"),
        ({"batch_size": 8193}, "/config/batch_size"),
        ({"image_size": 27}, "/config/image_size"),
        ({"seed": 10**400}, "/config/seed"),
        ({"seed": -1}, "/config/seed"),
        ({"dropout": 0.95}, "/config/dropout"),
        ({"deterministic": 1}, "/config/deterministic"),
        ({"dense": [1, True]}, "/config/dense/1"),
        ({"dense": "120"}, "/config/dense"),
        ({"optimizer": {"learning_rate": math.inf}}, "/config/optimizer/learning_rate"),
        ({"optimizer": {"learning_rate": True}}, "/config/optimizer/learning_rate"),
        ({"optimizer": {"learning_rate": 0}}, "/config/optimizer/learning_rate"),
        ({"optimizer": {"name": "adamw", "betas": [0.9, 1.0]}}, "/config/optimizer/betas/1"),
        ({"optimizer": {"name": "adamw", "momentum": 0.9}}, "/config/optimizer/momentum"),
        ({"optimizer": {"name": "sgd", "betas": [0.9, 0.9]}}, "/config/optimizer/betas"),
        ({"optimizer": {"name": "best"}}, "/config/optimizer/name"),
        ({"optimizer": {"name": ["adam"]}}, "/config/optimizer/name"),
        ({"optimizer": None}, "/config/optimizer"),
        ({"optimizer": "adam"}, "/config/optimizer"),
        ({"optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": True}}, "/config/optimizer/nesterov"),
        ({"optimizer": {"name": "muon", "momentum": 0.0}}, "/config/optimizer/nesterov"),
        ({"augmentation": {"hue": 0.6}}, "/config/augmentation/hue"),
        ({"augmentation": {"blur": 1.0}}, "/config/augmentation/blur"),
        ({"augmentation": "medium"}, "/config/augmentation"),
        ({"sampling": {"fraction": 0.0}}, "/config/sampling/fraction"),
        ({"sampling": {"max_per_class": 0}}, "/config/sampling/max_per_class"),
        ({"sampling": {"balance": "best"}}, "/config/sampling/balance"),
        ({"ema": 1.0}, "/config/ema"),
        ({"precision": "fp16"}, "/config/precision"),
        ({"scheduler": {"name": "one_cycle"}}, "/config/scheduler/max_learning_rate"),
        ({"scheduler": {"name": "one_cycle", "max_learning_rate": 1e-9}}, "/config/scheduler/max_learning_rate"),
        ({"scheduler": {"name": "multistep"}}, "/config/scheduler/milestones"),
        ({"scheduler": {"warmup_epochs": 5.0}, "epochs": 5}, "/config/scheduler/warmup_epochs"),
        ({"augmentation": {"rotation": "far"}}, "/config/augmentation/rotation"),
        ({"early_stopping": {"patience": 0}}, "/config/early_stopping/patience"),
        ({"preset": "none"}, "/config/preset"),
        ({"preset": 3}, "/config/preset"),
        ({"architecture": ["lenet5"]}, "/config/architecture"),
        ({"architecture": "lenet5-bn", "batch_norm": False}, "/config/batch_norm"),
        ({"dropout": 0.5, "dense": []}, "/config/dropout"),
        ({"eopchs": 3}, "/config/eopchs"),
        ({"a/b~c": 3}, "/config/a~1b~0c"),
    ],
)
def test_a_value_that_cannot_be_is_refused_where_it_stands(raw, pointer):
    assert list(faults_of(raw)) == [pointer]


def test_every_fault_is_named_at_once():
    raw = {"epochs": 0, "ema": 1.0, "preset": "none", "optimizer": {"name": "muon", "momentum": 2.0}, "typo": 1}
    assert set(faults_of(raw)) == {
        "/config/epochs",
        "/config/ema",
        "/config/preset",
        "/config/optimizer/momentum",
        "/config/typo",
    }


def test_settling_chooses_epochs_and_batch_size_by_the_dataset():
    mnist = settle(resolve({}), classes=10, train_images=60_000, color_mode="grayscale")
    photos = settle(resolve({}), classes=10, train_images=50_000, color_mode="rgb")
    tiny = settle(resolve({}), classes=8, train_images=127, color_mode="rgb")
    assert (mnist.epochs, mnist.batch_size, mnist.color_mode) == (10, 128, "grayscale")
    assert (photos.epochs, photos.batch_size, photos.color_mode) == (20, 128, "rgb")
    assert (tiny.epochs, tiny.batch_size, tiny.color_mode) == (100, 16, "rgb")


def test_settling_leaves_what_was_given_and_is_done_once():
    raw = {"epochs": 2, "batch_size": 5, "color_mode": "rgb"}
    once = settle(resolve(raw), classes=3, train_images=60, color_mode="grayscale")
    assert (once.epochs, once.batch_size, once.color_mode) == (2, 5, "rgb")
    assert settle(once, classes=3, train_images=60, color_mode="grayscale") == once


def test_the_papers_criterion_needs_its_distances():
    assert list(faults_of({"loss": "map"})) == ["/config/loss"]
    assert resolve({"loss": "map", "architecture": "lenet5-1998"}).loss == "map"


def test_the_papers_criterion_takes_labels_as_they_are():
    raw = {"preset": "lenet5-1998", "label_smoothing": 0.1}
    assert list(faults_of(raw)) == ["/config/label_smoothing"]


@pytest.mark.parametrize("base", [None, {}, {"preset": "lenet5-sigmoid"}, {"architecture": "lenet5"}])
def test_the_papers_architecture_brings_its_own_over_a_preset_and_a_base(base):
    config = resolve({"architecture": "lenet5-1998"}, base if base is None else resolve(base).plain())
    assert (config.activation, config.pooling, config.dense) == ("scaled_tanh", "subsampling", (84,))
    assert (config.init, config.normalize) == ("lecun_1998", "lecun_1998")


def test_what_is_sent_stands_over_the_papers_architecture():
    raw = {"architecture": "lenet5-1998", "activation": "relu", "dense": [60]}
    config = resolve(raw)
    assert (config.activation, config.dense, config.pooling) == ("relu", (60,), "subsampling")
    again = resolve({"seed": 3}, config.plain())
    assert (again.activation, again.dense) == ("relu", (60,))


def test_another_architecture_over_the_papers_brings_its_own():
    config = resolve({"architecture": "lenet5"}, resolve({"architecture": "lenet5-1998"}).plain())
    assert (config.activation, config.pooling, config.normalize, config.dense) == ("relu", "max", "dataset", (120, 84))


@pytest.mark.parametrize(
    ("raw", "dataset", "pointer"),
    [
        ({}, {"classes": 1, "train_images": 60}, "/dataset_id"),
        ({}, {"classes": 10, "train_images": 9}, "/dataset_id"),
        (
            {"early_stopping": {}, "validation": {"fraction": 0}},
            {"classes": 3, "train_images": 60},
            "/config/early_stopping",
        ),
        (
            {"scheduler": {"name": "reduce_on_plateau"}, "validation": {"fraction": 0}},
            {"classes": 3, "train_images": 60},
            "/config/scheduler/name",
        ),
        (
            {"augmentation": {"hue": 0.1}},
            {"classes": 3, "train_images": 60, "color_mode": "grayscale"},
            "/config/augmentation/hue",
        ),
        (
            {"augmentation": {"saturation": 0.1}, "color_mode": "grayscale"},
            {"classes": 3, "train_images": 60, "color_mode": "rgb"},
            "/config/augmentation/saturation",
        ),
    ],
)
def test_what_cannot_work_with_a_dataset_is_named(raw, dataset, pointer):
    assert [fault.pointer for fault in check(resolve(raw), **dataset)] == [pointer]
    with pytest.raises(InvalidError):
        settle(resolve(raw), **{"color_mode": "rgb", **dataset})


@pytest.mark.parametrize(
    ("sampling", "epochs"),
    [
        ({}, 35),
        ({"fraction": 0.5}, 70),
        ({"max_per_class": 1000}, 100),
        ({"balance": "oversample"}, 17),
        ({"balance": "undersample"}, 100),
    ],
)
def test_epochs_are_as_many_as_the_images_that_an_epoch_takes_make_steps(sampling, epochs):
    # Without validation the classes train 9,000, 3,000 and 900 images.
    raw = {"sampling": sampling, "batch_size": 64, "validation": {"fraction": 0.1}}
    settled = settle(
        resolve(raw), classes=3, train_images=14_333, color_mode="rgb", class_images=[10_000, 3_333, 1_000]
    )
    assert settled.epochs == epochs


@pytest.mark.parametrize("option", ["early_stopping", "scheduler"])
def test_a_share_of_so_few_images_that_none_validates_is_refused(option):
    raw = {"early_stopping": {}} if option == "early_stopping" else {"scheduler": {"name": "reduce_on_plateau"}}
    few = {"classes": 3, "train_images": 12, "class_images": [4, 4, 4]}
    (fault,) = check(resolve(raw), **few)
    assert fault.pointer.startswith(f"/config/{option}")
    assert "validation.fraction 0.1 of so few images is none" in fault.detail
    assert check(resolve(raw), **few, validation_images=1) == []
    assert check(resolve(raw), classes=3, train_images=13, class_images=[5, 4, 4]) != []
    assert check(resolve(raw), classes=3, train_images=14, class_images=[6, 4, 4]) == []


def test_training_images_of_one_class_alone_are_refused():
    (fault,) = check(resolve({}), classes=3, train_images=9, class_images=[9, 0, 0])
    assert fault.pointer == "/dataset_id"
    assert "of the same one" in fault.detail
    assert check(resolve({}), classes=3, train_images=9, class_images=[8, 0, 1]) == []


def test_a_warm_up_longer_than_the_epochs_that_are_chosen_is_refused():
    dataset = {"classes": 3, "train_images": 60_000, "color_mode": "grayscale"}
    with pytest.raises(InvalidError) as caught:
        settle(resolve({"scheduler": {"warmup_epochs": 10.0}}), **dataset)
    (fault,) = caught.value.faults
    assert (fault.pointer, fault.detail) == ("/config/scheduler/warmup_epochs", "must be less than the 10 epochs")
    assert settle(resolve({"scheduler": {"warmup_epochs": 9.5}}), **dataset).epochs == 10


# The paper's third convolution leaves nothing of less than 32 pixels; every other net takes every size.
LEAST_SIZES = {"lenet5": 28, "lenet5-1998": 32, "lenet5-bn": 28, "lenet-wide": 28, "lenet-deep": 28}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_too_small_for_an_architecture_is_refused_at_every_size(architecture):
    config = resolve({"architecture": architecture})
    taken = [
        size
        for size in range(28, 129)
        if not check(config.model_copy(update={"image_size": size}), classes=3, train_images=60)
    ]
    assert taken == list(range(LEAST_SIZES[architecture], 129))


@pytest.mark.parametrize(("classes", "least"), [(2, 2), (3, 4), (10, 7), (1000, 20)])
def test_classes_without_room_for_codes_of_their_own_are_refused(classes, least):
    dataset = {"classes": classes, "train_images": 2000}
    short = resolve({"architecture": "lenet5-1998", "dense": [100, least - 1]})
    assert [fault.pointer for fault in check(short, **dataset)] == ["/config/dense"]
    assert check(resolve({"architecture": "lenet5-1998", "dense": [100, least]}), **dataset) == []
    assert check(resolve({"architecture": "lenet5-bn", "dense": [1]}), **dataset) == []
    assert len(set(draw_codes(classes, least))) == classes


def test_everything_that_cannot_work_with_a_dataset_is_named_at_once():
    raw = {
        "architecture": "lenet5-1998",
        "image_size": 28,
        "early_stopping": {},
        "validation": {"fraction": 0.0},
        "augmentation": {"hue": 0.1, "saturation": 0.1},
    }
    faults = check(resolve(raw), classes=3, train_images=2, color_mode="grayscale")
    assert [fault.pointer for fault in faults] == [
        "/dataset_id",
        "/config/image_size",
        "/config/early_stopping",
        "/config/augmentation/saturation",
        "/config/augmentation/hue",
    ]


OPTIMIZERS = {"adam", "adamw", "nadam", "sgd", "muon", "rmsprop", "adagrad"}
OWNERS = {
    "momentum": (0.9, {"sgd", "muon", "rmsprop"}),
    "nesterov": (True, {"sgd", "muon"}),
    "betas": ([0.9, 0.9], {"adam", "adamw", "nadam"}),
}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("option", OWNERS)
def test_an_optimizer_takes_the_options_that_it_has_and_refuses_the_others(name, option):
    value, owners = OWNERS[option]
    raw = {"optimizer": {"name": name, option: value}}
    if name in owners:
        assert resolve(raw).plain()["optimizer"][option] == value
    else:
        assert list(faults_of(raw)) == [f"/config/optimizer/{option}"]


COURSES = {
    "constant": {},
    "step": {"step_epochs": 3, "gamma": 0.5},
    "multistep": {"milestones": [2], "gamma": 0.5},
    "exponential": {"gamma": 0.5},
    "cosine": {"final_fraction": 0.1},
    "one_cycle": {"max_learning_rate": 1.0, "rise": 0.2, "final_fraction": 0.1},
    "reduce_on_plateau": {"gamma": 0.5, "patience": 2},
}


@pytest.mark.parametrize("name", COURSES)
def test_a_scheduler_takes_the_options_that_it_has_and_refuses_the_others(name):
    own = {"name": name, **COURSES[name], "warmup_epochs": 0.5}
    stored = resolve({"scheduler": own}).plain()["scheduler"]
    assert stored == own
    foreign = {option: value for other in COURSES.values() for option, value in other.items() if option not in own}
    assert set(faults_of({"scheduler": {**own, **foreign}})) == {f"/config/scheduler/{option}" for option in foreign}


HUGE = 10**400


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, HUGE, -HUGE, 1e308, "1", None, [], {}, True],
    ids=lambda value: repr(value)[:5],
)
def test_no_number_takes_what_is_none_or_is_beyond_all_bounds(value):
    options = [
        ("image_size",), ("epochs",), ("batch_size",), ("dropout",), ("l1",), ("l2",), ("label_smoothing",), ("seed",),
        ("checkpoint_every",), ("ema",), ("optimizer", "learning_rate"), ("optimizer", "weight_decay"),
        ("optimizer", "momentum"), ("scheduler", "warmup_epochs"), ("early_stopping", "min_delta"),
        ("early_stopping", "patience"), ("augmentation", "rotation"), ("augmentation", "crop_padding"),
        ("sampling", "fraction"), ("sampling", "max_per_class"), ("validation", "fraction"),
    ]  # fmt: skip
    nullable = {("epochs",), ("batch_size",), ("dropout",), ("ema",), ("sampling", "max_per_class")}
    for path in options:
        if value is None and path in nullable:
            continue
        raw = {path[0]: value} if len(path) == 1 else {path[0]: {path[1]: value}}
        assert list(faults_of(raw)) == ["/".join(["/config", *path])], path


def test_named_strengths_work_without_colours():
    assert check(resolve({"augmentation": "strong"}), classes=3, train_images=60, color_mode="grayscale") == []


def test_early_stopping_by_the_datasets_own_validation_split_is_no_fault():
    config = resolve({"early_stopping": {}, "validation": {"fraction": 0}})
    assert check(config, classes=3, train_images=60, validation_images=9) == []


def test_every_option_is_described_in_the_schema():
    schema = TrainingConfig.model_json_schema()
    options = [*schema["properties"].items()]
    for name, model in schema["$defs"].items():
        options += [(f"{name}.{field}", about) for field, about in model["properties"].items() if field != "name"]
    assert [name for name, about in options if not about.get("description")] == []

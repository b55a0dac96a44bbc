import pytest

from core.domain.engines import ENGINES, find_missing
from core.domain.presets import DEFAULT_PRESETS
from core.domain.training_config import resolve
from core.errors import InvalidError

NUMPY = {"preset": "lenet5-relu-max", "engine": "numpy"}


def faults_of(raw, base=None):
    with pytest.raises(InvalidError) as caught:
        resolve(raw, base)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "gelu", "pooling": "avg", "init": "he_normal", "dense": [32], "dropout": 0.2},
        {"optimizer": {"name": "sgd", "nesterov": True}, "l1": 0.01, "l2": 0.01},
        {"optimizer": {"name": "adamw"}, "scheduler": {"name": "cosine", "warmup_epochs": 1.0}},
        {"sampling": {"balance": "oversample", "fraction": 0.5, "max_per_class": 9}},
        {"label_smoothing": 0.1, "normalize": "unit", "device": "cpu", "precision": "fp32"},
    ],
)
def test_the_numpy_engine_takes_what_it_has(options):
    assert resolve({**NUMPY, **options}).engine == "numpy"


@pytest.mark.parametrize(
    ("options", "pointers"),
    [
        ({"architecture": "lenet5-bn"}, {"architecture", "batch_norm"}),
        ({"batch_norm": True}, {"batch_norm"}),
        ({"architecture": "lenet-deep"}, {"architecture", "batch_norm"}),
        ({"optimizer": {"name": "muon"}}, {"optimizer/name"}),
        ({"pooling": "subsampling"}, {"pooling"}),
        ({"augmentation": "light"}, {"augmentation"}),
        ({"augmentation": {"rotation": 5.0}}, {"augmentation"}),
        ({"sampling": {"balance": "class_weights"}}, {"sampling/balance"}),
        ({"ema": 0.99}, {"ema"}),
        ({"loss": "mse_one_hot"}, {"loss"}),
        ({"precision": "bf16"}, {"precision"}),
        ({"device": "cuda", "batch_norm": True}, {"device", "batch_norm"}),
    ],
)
def test_the_numpy_engine_refuses_what_it_lacks_with_every_reason(options, pointers):
    faults = faults_of({**NUMPY, **options})
    assert set(faults) == {f"/config/{pointer}" for pointer in pointers}
    assert all("the NumPy engine has only" in detail for detail in faults.values())


def test_the_engine_alone_is_a_whole_config():
    config = resolve({"engine": "numpy"})
    assert (config.preset, config.architecture, config.engine) == ("lenet5-numpy", "lenet5", "numpy")
    assert resolve({"preset": "lenet5-numpy"}) == config
    assert resolve({"engine": "torch"}).preset == "lenet5-modern"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_default_preset_of_an_engine_needs_nothing_that_it_lacks(engine):
    config = resolve({"engine": engine})
    assert (config.preset, config.engine) == (DEFAULT_PRESETS[engine], engine)
    assert list(find_missing(config.plain())) == []


def test_options_beside_the_engine_stand_over_its_preset():
    config = resolve({"engine": "numpy", "seed": 3, "optimizer": {"learning_rate": 0.1}})
    assert (config.seed, config.optimizer.name, config.optimizer.learning_rate) == (3, "adamw", 0.1)


def test_a_preset_that_is_named_is_never_exchanged():
    assert faults_of({"engine": "numpy", "preset": "lenet5-modern"})["/config/architecture"] == (
        'the NumPy engine has only "lenet5"'
    )


def test_the_engine_over_the_config_of_a_job_keeps_that_config():
    faults = faults_of({"engine": "numpy"}, resolve({}).plain())
    assert "/config/architecture" in faults
    assert resolve({"engine": "numpy"}, resolve({"preset": "lenet5-relu"}).plain()).preset == "lenet5-relu"


def test_an_engine_that_is_none_is_refused_once():
    assert set(faults_of({"engine": "jax"})) == {"/config/engine"}
    assert set(faults_of({"engine": ["numpy"]})) == {"/config/engine"}

import pytest

from core.domain.training_config import resolve
from core.errors import InvalidError

NUMPY = {"preset": "lenet5-relu-max", "engine": "numpy"}


def faults_of(raw):
    with pytest.raises(InvalidError) as caught:
        resolve(raw)
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


def test_the_default_preset_is_too_much_for_the_numpy_engine():
    assert faults_of({"engine": "numpy"})["/config/architecture"] == 'the NumPy engine has only "lenet5"'

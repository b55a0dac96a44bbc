"""Presets: named sets of options that work well together. Options given beside one override it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_PRESET = "lenet5-modern"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a person reads in a list, and the options that differ from the defaults."""

    title: str
    options: Mapping[str, Any]


_CLASSIC: Mapping[str, Any] = {
    "architecture": "lenet5",
    "activation": "sigmoid",
    "pooling": "avg",
    "init": "xavier_uniform",
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "scheduler": {"name": "constant"},
    "augmentation": "none",
    "early_stopping": {"patience": 10},
    "batch_size": 128,
    "epochs": 100,
}

PRESETS: Mapping[str, Preset] = {
    DEFAULT_PRESET: Preset(
        title="LeNet-5 by modern practice: good on any upload without tuning",
        options={
            "architecture": "lenet5-bn",
            "optimizer": {"name": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01},
            "scheduler": {"name": "cosine", "warmup_epochs": 0.5},
            "augmentation": "light",
        },
    ),
    "lenet-wide": Preset(
        title="Three wide convolutions, Adam and one cycle of the learning rate",
        options={
            "architecture": "lenet-wide",
            "optimizer": {"name": "adam", "learning_rate": 4e-4, "weight_decay": 0.002},
            "scheduler": {"name": "one_cycle", "max_learning_rate": 1e-2},
            "batch_size": 128,
            "epochs": 10,
            "augmentation": "none",
        },
    ),
    "lenet5-sigmoid": Preset(
        title="The classic LeNet-5: sigmoid, mean pooling, Adam",
        options=_CLASSIC,
    ),
    "lenet5-relu": Preset(title="The classic LeNet-5 with ReLU", options={**_CLASSIC, "activation": "relu"}),
    "lenet5-relu-wd": Preset(
        title="The classic LeNet-5 with ReLU and weight decay",
        options={
            **_CLASSIC,
            "activation": "relu",
            "optimizer": {"name": "adam", "learning_rate": 1e-3, "weight_decay": 1e-3},
        },
    ),
    "lenet5-relu-max": Preset(
        title="The classic LeNet-5 with ReLU and max pooling",
        options={**_CLASSIC, "activation": "relu", "pooling": "max"},
    ),
}

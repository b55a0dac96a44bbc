"""Engines: what computes a training, and which values of the options the smaller one has."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

EngineName = Literal["torch", "numpy"]
ENGINES: tuple[EngineName, ...] = ("torch", "numpy")

# Every option that one engine computes and the other might not. A value that is not here is refused, never ignored.
_NUMPY: Mapping[str, Collection[object]] = {
    "architecture": ("lenet5",),
    "batch_norm": (False,),
    "pooling": ("max", "avg"),
    "optimizer/name": ("adam", "adamw", "sgd"),
    "loss": ("cross_entropy",),
    "augmentation": ("none",),
    "sampling/balance": ("none", "oversample", "undersample"),
    "ema": (None,),
    "device": ("auto", "cpu"),
    "precision": ("auto", "fp32"),
}


def find_missing(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each option that the config's engine does not have as it is, as its path and a sentence.

    Args:
        options: A config's JSON values, none left out.
    """
    for path, values in _NUMPY.items() if options["engine"] == "numpy" else ():
        value: Any = options
        for part in path.split("/"):
            value = value[part]
        if value not in values:
            yield path, f"the NumPy engine has only {', '.join(map(json.dumps, values))}"

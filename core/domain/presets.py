"""Presets: named sets of options that work well together. Options given beside one override it.

Each is a file in ``recipes/``: a title and the options that differ from the defaults.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from core.domain.engines import EngineName

DEFAULT_PRESET = "lenet5-modern"
# What is taken where a config names none, by its engine: each has everything that its preset asks for.
DEFAULT_PRESETS: Mapping[EngineName, str] = {"torch": DEFAULT_PRESET, "numpy": "lenet5-numpy"}
_FOLDER, _SUFFIX = "recipes", ".toml"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a person reads in a list, and the options that differ from the defaults."""

    title: str
    options: Mapping[str, Any]


def read_presets() -> Mapping[str, Preset]:
    """Return the presets by name, the default first and the others in the order of their names."""
    folder = files("core.domain").joinpath(_FOLDER)
    texts = {
        file.name.removesuffix(_SUFFIX): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(_SUFFIX)
    }
    names = sorted(texts, key=lambda name: (name != DEFAULT_PRESET, name))
    return {name: Preset(**tomllib.loads(texts[name])) for name in names}


PRESETS = read_presets()

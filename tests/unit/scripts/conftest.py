"""The scripts are no package: they run before anything is installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def load(name):
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup():
    return load("setup")


@pytest.fixture
def lock():
    return load("lock")


@pytest.fixture
def mutations():
    return load("mutations")


@pytest.fixture
def fuzzing():
    return load("fuzzing")


@pytest.fixture
def audit():
    return load("audit")

"""What a program imports is what its extra installs: what is missing is found here, not at somebody's first start."""

import ast
import json
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = canonicalize_name(PROJECT["name"])
LOADED = "import json, sys, {}; print(json.dumps([getattr(m, '__file__', None) for m in sys.modules.values()]))"


def required_by(requirement):
    """Return what a requirement asks for itself; ours is read from the checkout, not from what is installed."""
    if canonicalize_name(requirement.name) == NAME:
        extras = (PROJECT["optional-dependencies"][extra] for extra in requirement.extras)
        return [Requirement(text) for text in chain(PROJECT["dependencies"], *extras)]
    try:
        found = [Requirement(text) for text in requires(requirement.name) or ()]
    except PackageNotFoundError:  # of another platform
        return []
    extras = {"", *requirement.extras}
    return [
        one for one in found if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]


@cache
def installed_with(text):
    """Return the names of all distributions that an installation of `text` brings."""
    waiting, seen = [Requirement(text)], set()
    while waiting:
        one = waiting.pop()
        if (key := (canonicalize_name(one.name), *sorted(one.extras))) not in seen:
            seen.add(key)
            waiting += required_by(one)
    return {name for name, *_ in seen}


def files_loaded_by(modules):
    """Return our own files that an import loads."""
    command = [sys.executable, "-c", LOADED.format(modules)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = (Path(file) for file in json.loads(answer.stdout) if file)
    return [file.relative_to(ROOT) for file in found if file.is_relative_to(ROOT) and ".venv" not in file.parts]


@cache
def distributions():
    return packages_distributions()


def imported_by(files):
    """Return the names of the distributions of other people that files import, even where they do so late."""
    nodes = [node for file in files for node in ast.walk(ast.parse((ROOT / file).read_text()))]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    known = distributions()
    roots = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    return {canonicalize_name(known[root][0]) for root in roots if not (ROOT / root).is_dir()}


@pytest.mark.parametrize(
    ("modules", "extra", "packages"),
    [
        ("client.cli", "", {"client"}),
        ("client.sdk, client.commands.jobs, client.commands.datasets", "", {"client"}),
        ("api.wiring, api.server", "[api]", {"api", "core"}),
        ("core.db.__main__", "[api]", {"core"}),
        ("core.reporting.__main__", "[api]", {"core"}),
        ("worker.wiring, worker.health, worker.__main__", "[worker]", {"worker", "core"}),
        ("worker.trainer, core.training.results, core.reporting.package", "[worker]", {"worker", "core"}),
        (
            "worker.trainer, core.training.results, core.reporting.package, core.training.numpy_engine.engine",
            "[worker-numpy]",
            {"worker", "core"},
        ),
        ("embedded.start", "[embedded]", {"embedded", "core"}),
        ("demo.__main__", "[demo]", {"demo", "client"}),
    ],
)
def test_a_program_imports_nothing_but_what_its_extra_installs(modules, extra, packages):
    files = files_loaded_by(modules)
    assert {file.parts[0] for file in files} == packages
    assert imported_by(files) <= installed_with(f"{NAME}{extra}")


def test_the_api_installs_no_torch_and_the_client_nothing_of_the_server():
    assert not installed_with(f"{NAME}[api]") & {"torch", "onnx", "torchvision", "scikit-learn"}
    assert "torch" not in installed_with(f"{NAME}[worker-numpy]")
    assert not installed_with(NAME) & {"flask", "celery", "sqlalchemy", "numpy", "pillow", "redis", "minio", "torch"}


def test_the_development_environment_has_every_extra():
    every = set().union(*(installed_with(f"{NAME}[{extra}]") for extra in PROJECT["optional-dependencies"]))
    assert every == installed_with(f"{NAME}[dev]")


def test_every_package_of_an_extra_is_pinned():
    pins = {
        line.partition("==")[0]
        for file in ("constraints.txt", "constraints-cpu.txt")
        for line in (ROOT / file).read_text().splitlines()
    }
    pinned = {canonicalize_name(pin) for pin in pins if not pin.startswith("#")}
    by_machine = {
        name for name in installed_with(f"{NAME}[dev]") if name.startswith(("nvidia-", "cuda-")) or name == "triton"
    }
    assert installed_with(f"{NAME}[dev]") - {NAME, "setuptools", "pip"} - by_machine - pinned == set()

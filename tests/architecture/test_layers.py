import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"


def lint(folder):
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the code that a test may spoil."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_layer_is_kept():
    answer = lint(ROOT)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("place", "imports"),
    [
        ("client", "core.settings"),
        ("api", "worker"),
        ("worker", "embedded"),
        ("embedded", "api"),
        ("api", "torch"),
        ("api", "core.datasets.images"),
        ("core/datasets", "core.services"),
        ("core/training", "sqlalchemy"),
        ("core/domain", "core.settings"),
    ],
)
def test_an_import_across_the_layers_is_found(copy, place, imports):
    (copy / place / "offence.py").write_text(f"import {imports}\n")
    answer = lint(copy)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert f"{place.replace('/', '.')}.offence" in answer.stdout


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("embedded.__main__", {"torch", "flask", "celery", "api", "worker", "client"}),
        ("worker.__main__", {"torch", "sqlalchemy", "numpy"}),
        ("worker.wiring", {"torch", "onnxruntime", "alembic", "matplotlib"}),
        ("worker.evaluator", {"torch"}),
        ("api.wiring", {"torch", "core.training", "alembic", "matplotlib"}),
        # It forks, and these start threads when they are loaded.
        ("api.server", {"onnxruntime", "celery", "numpy"}),
    ],
    ids=["supervisor", "scheduler", "worker", "evaluator", "api", "api's first process"],
)
def test_a_program_loads_nothing_that_it_does_not_need(program, unwanted):
    code = f"import sys, {program}; print({unwanted} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"

"""What a model was made of and with: enough to make it again, and to tell why it came out otherwise."""

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

import core
from core.domain.training_config import TrainingConfig
from core.training.contract import TrainingJob
from core.training.engines import Engine
from core.training.processor import name_processor


def list_versions(engine: Engine) -> dict[str, str]:
    """Return the versions of all that computed and wrote, by name."""
    return {
        "python": platform.python_version(),
        **engine.versions,
        "numpy": np.__version__,
        "onnx": version("onnx"),
        "lenet-platform": version("lenet-platform"),
    }


def describe_origin(
    job: TrainingJob, config: TrainingConfig, engine: Engine, *, fingerprint: str, initial_weights: str | None
) -> dict[str, str]:
    """Return by name what decides the weights; equal values mean equal weights wherever training is deterministic.

    Args:
        job: The training's order: device, threads and what it knows of the dataset.
        config: Settled.
        engine: With its precision and versions.
        fingerprint: Of the images and labels in the pack.
        initial_weights: SHA-256 of the weights that it began with, where they are another job's.
    """
    precision = engine.choice.precision
    start = {"initial_weights": initial_weights} if initial_weights else {}
    return {
        **list_versions(engine),
        **job.dataset,
        **start,
        "data": fingerprint,
        "config": json.dumps({**config.plain(), "precision": precision}, sort_keys=True),
        "seed": str(config.seed),
        "precision": precision,
        "device": job.device,
        "threads": str(job.threads),
        "processor": name_processor(),
        "code": f"{version('lenet-platform')}+{digest_code()}",
    }


@cache
def digest_code() -> str:
    """Return a digest of the source of `core`, which tells two states of the code with one version apart."""
    root = Path(core.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]

"""A training in this process, on one thread, and what it told its observer."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from core.domain.training_config import resolve
from core.training import TrainingJob, train

QUICK = {
    "architecture": "lenet5",
    "image_size": 28,
    "epochs": 3,
    "batch_size": 8,
    "augmentation": "none",
    "scheduler": {"name": "constant"},
    "optimizer": {"name": "adam", "learning_rate": 2e-3},
}


@dataclass
class RecordingObserver:
    """Keeps what it is told; says `command` once so many steps were asked for."""

    command_at: int | None = None
    says: str = "pause"
    asked: int = 0
    told: list = field(default_factory=list)
    epochs: list = field(default_factory=list)
    checkpoints: list = field(default_factory=list)
    logged: list = field(default_factory=list)

    def progress(self, progress):
        self.told.append(progress)

    def epoch(self, result):
        self.epochs.append(result)

    def checkpoint(self, path, *, epoch, batch):
        assert path.is_file()
        self.checkpoints.append((path, epoch, batch))

    def log(self, message):
        self.logged.append(message)

    def command(self):
        self.asked += 1
        return self.says if self.command_at is not None and self.asked > self.command_at else None


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def make_observer():
    return RecordingObserver


@pytest.fixture
def make_job(tmp_path_factory, pack_path):
    def make(options=None, *, pack=pack_path, **fields) -> TrainingJob:
        fields.setdefault("work_dir", tmp_path_factory.mktemp("work"))
        return TrainingJob(config=resolve({**QUICK, **(options or {})}), pack=pack, **fields)

    return make


@pytest.fixture
def run(make_job, make_observer):
    """Train and return the result, the observer and the files by name."""

    def run(options=None, *, observer=None, **fields):
        observer = observer or make_observer()
        result = train(make_job(options, **fields), observer)
        files = {file.name: file.path for file in result.files} if result else {}
        return result, observer, files

    return run


@pytest.fixture
def read_weights():
    def read(path: Path) -> dict[str, torch.Tensor]:
        return torch.load(path, weights_only=True)

    return read


@pytest.fixture
def same_bits():
    def same(first, second) -> bool:
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    return same

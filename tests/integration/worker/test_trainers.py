"""Real trainer processes: forked warm, spoken to over their pipe, ended as a group."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from core.datasets.packs import PackWriter
from core.domain.plots import PLOTS
from core.domain.training_config import resolve, settle
from worker.trainers import ForkedTrainers, Order, SpawnedTrainers, Trainer, TrainerSource


@pytest.fixture(scope="module", params=["forked", "spawned"])
def trainers(request: pytest.FixtureRequest) -> Iterator[TrainerSource]:
    source = ForkedTrainers(nice=1) if request.param == "forked" else SpawnedTrainers(nice=1)
    yield source
    source.close()


@pytest.fixture(params=[{}, {"preset": "lenet5-relu", "engine": "numpy"}], ids=["torch", "numpy"])
def order(request: pytest.FixtureRequest, tmp_path: Path) -> Order:
    return _order(tmp_path, epochs=2, **request.param)


def _order(folder: Path, **config: object) -> Order:
    draw = np.random.default_rng(0)
    labels = np.arange(240, dtype=np.int32) % 3
    pixels = (draw.integers(0, 60, (240, 32, 32, 1)) + labels[:, None, None, None] * 90).astype(np.uint8)
    writer = PackWriter(folder / "pack", image_size=32, color_mode="grayscale")
    writer.append(pixels)
    splits = np.repeat(np.array([0, 2], np.uint8), [180, 60])
    writer.finish(labels=labels, splits=splits, paths=[f"{n}.png" for n in range(240)], classes=["a", "b", "c"])
    settled = settle(resolve(config), classes=3, train_images=180, color_mode="grayscale")
    return Order(
        config=settled.model_dump(mode="json"),
        pack=str(folder / "pack"),
        work_dir=str(folder),
        device="cpu",
        threads=1,
        resume_from=None,
        initial_weights=None,
        speeds=None,
    )


def _hear(trainer: Trainer, *, until: str | None = None) -> list[dict]:
    """Return every message up to the one of kind ``until``, or to the trainer's end."""
    messages, deadline = [], time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            message = trainer.receive(0.2)
        except EOFError:
            return messages
        if message is not None:
            messages.append(message)
            if message["type"] == until:
                return messages
    raise AssertionError(f"no end within a minute; heard {[message['type'] for message in messages]}")


def test_a_trainer_reports_each_epoch_and_its_files(trainers: TrainerSource, order: Order) -> None:
    trainer = trainers.take()
    trainer.start(order)
    messages = _hear(trainer)
    assert trainer.end() == 0
    assert [message["epoch"]["epoch"] for message in messages if message["type"] == "epoch"] == [1, 2]
    assert messages[-1]["type"] == "result"
    names = {file["name"] for file in messages[-1]["result"]["files"]}
    models = {"model.pth", "model.safetensors", "model.npz", "model.onnx"}
    plots = {f"{name}.png" for name in PLOTS}
    tables = {"config.json", "history.csv", "report.json", "provenance.json", "test_predictions.npz"}
    assert names == models | plots | tables | {"bundle.zip"}
    assert all(Path(file["path"]).stat().st_size for file in messages[-1]["result"]["files"])


def test_a_trainer_pauses_within_an_epoch_and_leaves_a_checkpoint(trainers: TrainerSource, tmp_path: Path) -> None:
    trainer = trainers.take()
    trainer.start(_order(tmp_path, epochs=1000))
    _hear(trainer, until="epoch")
    trainer.send("pause")
    messages = _hear(trainer)
    assert trainer.end() == 0
    assert messages[-1]["type"] == "paused"
    saved = [message for message in messages if message["type"] == "checkpoint"]
    assert Path(saved[-1]["path"]).stat().st_size > 0


def test_a_killed_trainer_shows_its_signal_and_leaves_no_process(trainers: TrainerSource, tmp_path: Path) -> None:
    trainer = trainers.take()
    trainer.start(_order(tmp_path, epochs=1000))
    _hear(trainer, until="epoch")
    pid = trainer.pid
    os.kill(pid, signal.SIGKILL)
    _hear(trainer)
    assert trainer.end() == -signal.SIGKILL
    assert not psutil.pid_exists(pid)


def test_a_training_that_cannot_go_on_says_why(trainers: TrainerSource, tmp_path: Path) -> None:
    trainer = trainers.take()
    order = _order(tmp_path, epochs=2)
    Path(order.pack).write_bytes(b"no pack")
    trainer.start(order)
    messages = _hear(trainer)
    trainer.end()
    assert (messages[-1]["type"], messages[-1]["code"]) == ("failed", "integrity")


def test_a_trainer_has_a_group_of_its_own_and_a_low_priority(trainers: TrainerSource, tmp_path: Path) -> None:
    trainer = trainers.take()
    trainer.start(_order(tmp_path, epochs=1000))
    _hear(trainer, until="epoch")
    assert os.getpgid(trainer.pid) == trainer.pid
    assert (niceness := psutil.Process(trainer.pid).nice()) >= 1
    group = Path(f"/proc/{trainer.pid}/autogroup")
    assert not group.exists() or group.read_text().endswith(f" nice {niceness}\n")
    trainer.kill()
    trainer.end()


def test_a_trainer_dies_with_its_supervisor() -> None:
    program = (
        "from worker.trainers import ForkedTrainers\n"
        "import time\n"
        "if __name__ == '__main__':\n"
        "    trainer = ForkedTrainers(nice=1).take()\n"
        "    print(trainer.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        time.sleep(0.5)
        supervisor.kill()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the trainer outlived its supervisor"
        time.sleep(0.05)


@pytest.fixture
def spawned() -> Iterator[SpawnedTrainers]:
    source = SpawnedTrainers(nice=1)
    yield source
    source.close()


def _end(trainer: Trainer) -> None:
    trainer.kill()
    trainer.end()


def _await_isolation(trainer: Trainer) -> None:
    """Wait until the trainer has lowered its priority, after which it asks to die with its parent."""
    deadline = time.monotonic() + 30
    while not psutil.Process(trainer.pid).nice():
        assert time.monotonic() < deadline, "the trainer does not start"
        time.sleep(0.02)
    time.sleep(0.2)


def test_a_trainer_outlives_the_thread_of_the_job_before_it(spawned: SpawnedTrainers) -> None:
    next_one_runs, taken = threading.Event(), []

    def run_a_job() -> None:
        taken.append(spawned.take())  # It starts the next one ahead.
        next_one_runs.wait()

    thread = threading.Thread(target=run_a_job)
    thread.start()
    while not taken:
        time.sleep(0.02)
    following = spawned.take()
    _await_isolation(following)
    next_one_runs.set()
    thread.join()
    time.sleep(0.5)
    lives = following.lives
    for trainer in (*taken, following):
        _end(trainer)
    assert lives


def test_a_spare_that_was_killed_while_it_waited_is_replaced(spawned: SpawnedTrainers, tmp_path: Path) -> None:
    spare = spawned._spare.result()
    spare.kill()
    while spare.lives:
        time.sleep(0.02)
    trainer = spawned.take()
    trainer.start(_order(tmp_path, epochs=1))
    assert _hear(trainer)[-1]["type"] == "result"
    assert trainer.end() == 0


def test_the_supervisor_does_not_load_torch() -> None:
    program = "import sys, worker.wiring, worker.trainers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

import multiprocessing
import os
import subprocess
import sys

TRAIN = """
import multiprocessing, sys, time
from pathlib import Path

def child(connection, pack, folder):
    started = time.perf_counter()
    assert "core.training.trainer" in sys.modules, "the forkserver has not loaded the trainer"
    from core.domain.training_config import resolve
    from core.training import TrainingJob, train

    class Observer:
        first = None
        def progress(self, progress): pass
        def epoch(self, result): pass
        def checkpoint(self, path, *, epoch, batch): pass
        def log(self, message):
            pass

        def command(self):
            self.first = self.first or time.perf_counter() - started

    observer = Observer()
    config = resolve({"image_size": 28, "epochs": 1, "batch_size": 8})
    result = train(TrainingJob(config, Path(pack), Path(folder), "cpu", 2), observer)
    connection.send((result.metrics.test_accuracy, observer.first))

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["core.training.preload"])
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=child, args=(there, *sys.argv[1:]))
        process.start()
        there.close()
        print(*here.recv())
        process.join(30)
        assert process.exitcode == 0
"""


def test_a_process_forked_after_the_preload_trains(pack_path, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TRAIN)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(pack_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accuracies = [float(line.split()[0]) for line in done.stdout.splitlines()]
    assert len(accuracies) == 2
    assert multiprocessing.active_children() == []


def test_the_preload_starts_no_thread_and_loads_no_exporter():
    script = (
        "import core.training.preload, os, sys;"
        "print(len(os.listdir('/proc/self/task')), 'onnxruntime' in sys.modules, 'torchvision' in sys.modules)"
    )
    # NumPy's own BLAS would start its threads at import; it knows how to be forked.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert done.stdout.split() == ["1", "False", "False"]

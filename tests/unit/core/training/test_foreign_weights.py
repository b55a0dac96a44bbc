"""A67-A69: what a training starts from is looked at first, though only files of ours, of known hash, come here."""

import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import load_file, save_file

from core.errors import IntegrityError, TrainingError
from core.training import torch_engine
from core.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from core.training.trainer import Training

BROKEN = {
    "torn": b"\x01",
    "a header longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "no JSON": (2).to_bytes(8, "little") + b"[}",
    "a pickle": b"\x80\x04K\x01.",
}
SPAN = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def put_header(header: dict, length: int = 8) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(length)


BROKEN |= {
    "overlapping storages": put_header({"a": SPAN, "b": SPAN}),
    "a hole": put_header({"a": SPAN, "b": SPAN | {"data_offsets": [12, 20]}}, 20),
    "more numbers than bytes": put_header({"a": SPAN | {"shape": [2**40], "data_offsets": [0, 2**42]}}),
    "a shape of another size": put_header({"a": SPAN | {"shape": [9]}}),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a69_a_file_that_holds_no_weights_is_refused(run, tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        run(initial_weights=path)
    assert caught.value.code == "incompatible_weights"


CHANGES = {
    "another shape": lambda weights: {name: value[:1] for name, value in weights.items()},
    "one more": lambda weights: {**weights, "extra.weight": torch.zeros(1)},
    "one fewer": lambda weights: dict(list(weights.items())[1:]),
    "not a number": lambda weights: {name: value * float("nan") for name, value in weights.items()},
    "infinite": lambda weights: {name: value + float("inf") for name, value in weights.items()},
    "another's": lambda _: {"conv1.weight": torch.zeros(1)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a69_weights_that_do_not_fit_are_refused(run, make_job, make_observer, tmp_path, change):
    _, _, files = run()
    path = tmp_path / "changed.safetensors"
    # What is the data's own is replaced by the new data's at a warm start, whatever it was.
    weights = load_file(files["model.safetensors"])
    own = {name: weights.pop(name) for name in list(weights) if name.startswith("scaling.")}
    save_file({**own, **change(weights)}, path)
    with pytest.raises(TrainingError) as caught:
        Training(make_job(initial_weights=path), make_observer())
    assert caught.value.code == "incompatible_weights"


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.path),)


@pytest.fixture
def paused(run, make_observer):
    """Return the file of a checkpoint of torch's engine."""
    _, observer, _ = run(observer=make_observer(command_at=3))
    return observer.checkpoints[-1][0]


def exchange(path, torch_bytes):
    """Return a checkpoint that is as the given one, but for what torch wrote, and whole by its own hash."""
    content = read_checkpoint(path)
    arrays = {**content.arrays, "torch": np.frombuffer(torch_bytes, np.uint8)}
    return write_checkpoint(path.parent, Checkpoint(content.plain, arrays), epoch=9, batch=0)


def pack(torch_bytes, **changes):
    """Return a file of torch's with its entries compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_bytes)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in source.infolist():
            file.writestr(entry.filename, changes.get(entry.filename.rpartition("/")[2], source.read(entry)))
    return buffer.getvalue()


def test_a68_a_packed_state_is_refused_by_its_declared_size(paused, make_job, make_observer, monkeypatch):
    buffer = io.BytesIO()
    torch.save({"net": torch.zeros(50_000_000)}, buffer)
    bomb = pack(buffer.getvalue())
    assert len(bomb) < 1_000_000
    monkeypatch.setattr(torch_engine.torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(IntegrityError):
        Training(make_job(resume_from=exchange(paused, bomb)), make_observer())


@pytest.mark.parametrize("kind", ["pickle", "torch without weights_only", "no archive"])
def test_a67_a_pickle_in_a_checkpoint_is_not_run(paused, make_job, make_observer, tmp_path, kind):
    trap, buffer = tmp_path / "trap", io.BytesIO()
    torch.save({"net": Payload(trap)}, buffer)
    content = {"pickle": pickle.dumps(Payload(trap)), "no archive": b"x" * 100}.get(kind, buffer.getvalue())
    with pytest.raises(IntegrityError):
        Training(make_job(resume_from=exchange(paused, content)), make_observer())
    assert not trap.exists()


def test_a67_a_checkpoint_whose_bytes_were_exchanged_is_refused_unread(paused, tmp_path, monkeypatch):
    payload = save({"values": np.zeros(3)})
    mark = paused.read_bytes().partition(b"\n")[0] + b"\n"
    (tmp_path / "other").write_bytes(mark + hashlib.sha256(b"").digest() + payload)
    monkeypatch.setattr("core.training.checkpoints.load", lambda _: pytest.fail("it was read"))
    with pytest.raises(IntegrityError, match="torn"):
        read_checkpoint(tmp_path / "other")

import pytest
import torch

from bench import gpu
from bench.noise_pack import write_noise_pack
from core.datasets.packs import Pack


@pytest.fixture
def pack(tmp_path):
    return Pack.open(write_noise_pack(tmp_path / "pack", images=20))


def test_without_a_gpu_nothing_is_measured_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(gpu.measure(quick=True)) == []
    assert "no GPU here" in capsys.readouterr().out


def test_each_source_trains_every_image_of_the_pack(pack):
    sides = gpu.make_sides("cpu", pack, 8)
    figures = list(gpu.compare(8, sides, rounds=2))
    assert [figure.unit for figure in figures] == ["×"] * 3 + ["images/s"] * 4
    assert figures[0].name == "batches of 8: resident over sent ahead"
    assert all(figure.sample.n == 2 and figure.sample.low > 0 for figure in figures)


def test_an_epoch_ends_when_its_last_step_is_done(pack, monkeypatch):
    engine_told = []
    side = gpu.make_side("cpu", pack, 8, precision="fp32", source="sent ahead")
    for name in ("train", "expect", "read_sums"):
        original = getattr(gpu.TorchEngine, name)

        def tell(engine, *arguments, name=name, original=original):
            engine_told.append((name, len(arguments[0]) if arguments else None))
            return original(engine, *arguments)

        monkeypatch.setattr(gpu.TorchEngine, name, tell)
    side()
    steps = [("train", 8), ("expect", 8), ("train", 8), ("expect", 4), ("train", 4), ("expect", 0)]
    assert engine_told == [*steps, ("read_sums", None)]

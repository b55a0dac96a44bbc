"""What a training would have left in its work folder, made without one."""

import csv
import json

import numpy as np
import pytest

from core.datasets.packs import Pack
from core.domain.architectures import layers
from core.domain.exports import ModelMetadata
from core.domain.networks import describe_network
from core.domain.training_config import resolve
from core.reporting.golden import GOLDEN, Golden, choose_golden
from core.reporting.reports import Answers, make_report
from core.training.arrays_file import write_arrays_file
from core.training.nets import build_net

EPOCH = {
    "train_loss": 0.5,
    "train_accuracy": 0.8,
    "val_loss": 0.6,
    "val_accuracy": 0.75,
    "learning_rate": 0.01,
    "seconds": 1.5,
    "images_per_second": 900.0,
    "finished_at": "2026-11-26T12:00:00Z",
}
PROVENANCE = {"data": "d" * 64, "code": "1+abc", "config": json.dumps({"preset": "x", "epochs": 2}), "seed": "0"}


@pytest.fixture
def leave(make_pack, tmp_path):
    """Return the function that fills a work folder for a net without training; it returns the folder."""
    import torch

    def leave(*, architecture="lenet5", classes=("ant", "bee", "cat"), test=True, **pack_options):
        torch.manual_seed(0)
        count = len(classes)
        splits = {0: (2,) * count, **({2: (2,) * count} if test else {})}
        pack = Pack.open(make_pack(size=32, classes=classes, splits=splits, **pack_options))
        config = resolve({"architecture": architecture, "image_size": 32})
        network = layers(config, classes=count)
        net = build_net(network, (pack.channels, 32, 32)).eval()
        weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
        about = ModelMetadata(
            classes=classes,
            image_size=32,
            color_mode=pack.color_mode,
            architecture=architecture,
            layers=describe_network(network),
        )
        write_arrays_file(tmp_path / "model.npz", weights, about)
        positions = pack.indices("test")
        shares = np.random.default_rng(0).dirichlet(np.ones(count), len(positions)).astype(np.float32)
        report = make_report(
            pack,
            (answers := Answers(positions, shares)),
            unlearnt={"test": answers},
            images={"train": 2 * count, "validation": 0, "test": len(positions)},
            loss=0.7 if test else None,
            versions={},
            provenance=PROVENANCE,
        )
        (tmp_path / "report.json").write_text(report.model_dump_json())
        chosen = choose_golden(pack, positions if test else pack.indices("train"))
        logits = net(torch.from_numpy(pack.pixels[chosen]).permute(0, 3, 1, 2).float()).detach().numpy()
        Golden.take(pack, chosen, logits).save(tmp_path / GOLDEN)
        with (tmp_path / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", *EPOCH])
            writer.writeheader()
            writer.writerow({"epoch": 1, **EPOCH})
            writer.writerow({"epoch": 2, **EPOCH, "val_loss": None, "val_accuracy": None})
        return tmp_path

    return leave

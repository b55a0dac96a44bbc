"""Outcomes of the published comparison as they would be kept."""

from dataclasses import replace

import pytest

from bench.cells import Cell, Outcome


@pytest.fixture
def make_outcome():
    def make(recipe="fast", seed=0, dataset="mnist", **changes):
        cell = Cell(dataset, recipe, seed)
        outcome = Outcome(
            cell=cell,
            digest=cell.digest,
            test_accuracy=0.991,
            test_loss=0.03,
            val_accuracy=0.99,
            epochs=1,
            seconds=7.0,
            images_per_second=9000.0,
            parameters=61_728,
            machine="a processor, 2 cores",
            at="2026-01-01T00:00:00+00:00",
        )
        return replace(outcome, **changes)

    return make

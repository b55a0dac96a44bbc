import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from core.training.evaluation import probabilities, score

LOGITS = np.random.default_rng(0).normal(scale=5, size=(50, 7)).astype(np.float32)
LABELS = (np.arange(50) % 7).astype(np.int32)


def test_the_score_is_the_cross_entropy_and_the_share_of_right_answers():
    answers, truth = torch.from_numpy(LOGITS).double(), torch.from_numpy(LABELS).long()
    found = score(LOGITS, LABELS)
    assert found.loss == pytest.approx(float(functional.cross_entropy(answers, truth)), abs=1e-12)
    assert found.accuracy == float((answers.argmax(dim=1) == truth).double().mean())


def test_large_logits_overflow_nowhere():
    found = score(np.array([[1e30, 0.0], [0.0, 500.0]], np.float32), np.array([0, 1], np.int32))
    assert (found.loss, found.accuracy) == (0.0, 1.0)


@pytest.mark.parametrize("logit", [np.inf, -np.inf, np.nan])
def test_logits_that_are_no_numbers_make_a_loss_that_is_none(logit):
    assert not math.isfinite(score(np.full((2, 3), logit, np.float32), np.array([0, 1], np.int32)).loss)


def test_probabilities_are_the_softmax():
    expected = torch.from_numpy(LOGITS).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities(LOGITS), expected, atol=1e-6)
    assert probabilities(LOGITS[:0]).shape == (0, 7)

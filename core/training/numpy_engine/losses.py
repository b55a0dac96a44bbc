"""Cross-entropy and its gradient."""

import numpy as np

from core.training.numpy_engine.blocks import Array


def cross_entropy(logits: Array, labels: Array, *, label_smoothing: float) -> tuple[float, Array]:
    """Return the mean cross-entropy in nats, and its gradient ``(classes, batch)``.

    Args:
        logits: ``(classes, batch)``.
        labels: ``(batch,)``, indices.
        label_smoothing: Share of each label that goes to all classes alike (Szegedy and others, 2015, section 7).
    """
    classes, batch = logits.shape
    shifted = logits - logits.max(axis=0)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=0)
    wanted = np.full_like(logits, label_smoothing / classes)
    wanted[labels, np.arange(batch)] += 1 - label_smoothing
    loss = float(np.mean(np.log(sums) - (wanted * shifted).sum(axis=0)))
    return loss, (exponentials / sums - wanted) / batch

import pytest

from core.domain.reports import ClassMetrics, measure_classes


def test_precision_recall_and_f1_come_from_rows_and_columns():
    first, second = measure_classes(("a", "b"), [[3, 1], [2, 4]])
    assert (first.precision, first.recall, first.support) == (3 / 5, 3 / 4, 4)
    assert first.f1 == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
    assert (second.precision, second.recall, second.support) == (4 / 5, 4 / 6, 6)


def test_a_class_that_nobody_saw_has_figures_of_zero():
    metrics = measure_classes(("a", "b"), [[3, 0], [0, 0]])[1]
    assert metrics == ClassMetrics(class_name="b", precision=0, recall=0, f1=0, support=0)


def test_a_class_is_written_under_the_contracts_name():
    assert list(measure_classes(("a",), [[1]])[0].model_dump()) == ["class", "precision", "recall", "f1", "support"]

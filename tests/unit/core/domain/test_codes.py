from itertools import combinations

import pytest

from core.domain.codes import DIGIT_HEIGHT, DIGIT_WIDTH, draw_codes


def differences(codes):
    return [sum(one != other for one, other in zip(*pair, strict=True)) for pair in combinations(codes, 2)]


@pytest.mark.parametrize(("classes", "width"), [(2, 84), (10, 84), (26, 84), (300, 84), (5, 20), (10, 120)])
def test_each_class_has_a_code_of_its_own(classes, width):
    codes = draw_codes(classes, width)
    assert len(codes) == len(set(codes)) == classes
    assert all(len(code) == width and set(code) <= {-1, 1} for code in codes)


def test_ten_classes_of_84_units_are_drawn_as_digits():
    codes = draw_codes(10, DIGIT_WIDTH * DIGIT_HEIGHT)
    rows = [codes[1][start : start + DIGIT_WIDTH] for start in range(0, 84, DIGIT_WIDTH)]
    assert rows[0] == rows[-1] == (-1,) * 7
    # A one is a stroke on a foot.
    assert all(row[3:5] == (1, 1) for row in rows[1:-1])
    assert sum(value == 1 for value in rows[-2]) > 4
    assert min(differences(codes)) >= 5


def test_other_classes_have_codes_far_from_each_other():
    assert min(differences(draw_codes(26, 84))) > 84 / 3


def test_the_codes_are_the_same_at_every_call():
    assert draw_codes(7, 84) == draw_codes(7, 84)
    assert draw_codes(7, 84) == draw_codes(12, 84)[:7]

import pytest

from bench.figures import Figure, Goal, Sample, alternate, collect, divide, shorten, speeds


def test_a_sample_tells_its_middle_its_ends_and_how_many_it_has():
    sample = Sample((3.0, 1.0, 2.0, 10.0))

    assert (sample.n, sample.median, sample.low, sample.high) == (4, 2.5, 1.0, 10.0)


def test_a_sample_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Sample(())


def test_a_ratio_is_taken_within_each_round():
    # The second round met a busy machine on both sides: the ratio does not see it, ratios of medians would.
    ratio = divide(Sample((2.0, 20.0, 3.0)), Sample((1.0, 10.0, 2.0)))

    assert ratio.values == (2.0, 2.0, 1.5)


def test_a_ratio_of_unequal_rounds_is_refused():
    with pytest.raises(ValueError, match="argument 2"):
        divide(Sample((1.0, 2.0)), Sample((1.0,)))


def test_speeds_are_the_amount_over_the_seconds():
    assert speeds(Sample((2.0, 4.0)), 100).values == (50.0, 25.0)


@pytest.mark.parametrize(
    ("side", "value", "reached"),
    [
        ("at most", 1.15, True),
        ("at most", 1.16, False),
        ("at least", 1.15, True),
        ("at least", 1.14, False),
    ],
)
def test_a_goal_is_reached_on_its_own_side_of_the_bound(side, value, reached):
    assert Goal(26, side, 1.15).is_reached_by(value) is reached


def test_a_figure_is_held_to_its_goal_by_its_median():
    goal = Goal(26, "at most", 1.0)

    assert Figure("time", Sample((0.5, 0.9, 9.0)), "×", goal).reached is True
    assert Figure("time", Sample((0.5, 1.1, 9.0)), "×", goal).reached is False
    assert Figure("time", Sample((0.5,)), "×").reached is None


def test_a_line_says_n_median_spread_and_that_a_goal_was_missed():
    line = Figure("jobs", Sample((1.0, 2.0, 4.0)), "×", Goal(16, "at least", 3)).line()

    assert line == "jobs: 2 × (n=3, 1–4)  goal 16: ≥ 3, MISSED"


def test_a_figure_survives_json():
    for figure in (Figure("a", Sample((1.5, 2.5)), "s"), Figure("b", Sample((1.0,)), "×", Goal(1, "at least", 2.0))):
        assert Figure.parse(figure.plain()) == figure


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (1.149, "1.15"), (999.4, "999"), (19738.2, "19,738"), (0.0, "0")]
)
def test_numbers_are_shortened_to_what_counts(value, text):
    assert shorten(value) == text


def test_sides_alternate_and_none_always_comes_first():
    asked: list[str] = []

    def side(name: str, value: float):
        def ask() -> float:
            asked.append(name)
            return value

        return ask

    found = alternate({"ours": side("ours", 1.0), "peer": side("peer", 2.0)}, rounds=3)

    assert asked == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert found == {"ours": Sample((1.0, 1.0, 1.0)), "peer": Sample((2.0, 2.0, 2.0))}


def test_collecting_keeps_the_order():
    values = iter([3.0, 1.0, 2.0])

    assert collect(lambda: next(values), times=3).values == (3.0, 1.0, 2.0)

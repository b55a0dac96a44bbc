import math

import pytest

from core.domain.training_config import resolve
from core.domain.training_options import Constant, ReduceOnPlateau
from core.training.schedules import count_drops, learning_rate

RATE = 0.1


def rates(scheduler, *, epochs, steps_of_an_epoch):
    chosen = resolve({"scheduler": scheduler, "optimizer": {"learning_rate": RATE}, "epochs": epochs}).scheduler
    return [
        learning_rate(chosen, RATE, step=step, steps_of_an_epoch=steps_of_an_epoch, epochs=epochs)
        for step in range(epochs * steps_of_an_epoch)
    ]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"name": "step", "step_epochs": 2, "gamma": 0.5}, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
        ({"name": "multistep", "milestones": [1, 3], "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ({"name": "exponential", "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
    ],
)
def test_a_course_that_changes_between_epochs(scheduler, expected):
    given = rates({**scheduler, "warmup_epochs": 0.0}, epochs=4, steps_of_an_epoch=2)
    assert given == pytest.approx([RATE * factor for factor in expected])


def test_cosine_falls_along_half_a_wave():
    given = rates({"name": "cosine", "warmup_epochs": 0.0, "final_fraction": 0.2}, epochs=2, steps_of_an_epoch=2)
    wave = [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert given == pytest.approx([RATE * (0.2 + 0.8 * height) for height in wave])


def test_one_cycle_is_sized_by_the_real_number_of_steps():
    given = rates({"name": "one_cycle", "max_learning_rate": 1.0, "rise": 0.25}, epochs=10, steps_of_an_epoch=10)
    assert given[0] == pytest.approx(RATE)
    assert given.index(max(given)) == 25
    assert max(given) == pytest.approx(1.0)
    assert given[-1] < 0.001


def test_warm_up_rises_in_a_line_and_the_course_takes_the_rest():
    given = rates({"name": "cosine", "warmup_epochs": 1.0}, epochs=3, steps_of_an_epoch=3)
    assert given[:4] == pytest.approx([RATE / 4, RATE / 2, RATE * 3 / 4, RATE])
    assert given[3:] == sorted(given[3:], reverse=True)


PLATEAU = ReduceOnPlateau(name="reduce_on_plateau", gamma=0.5, patience=2)


@pytest.mark.parametrize(
    ("losses", "drops"),
    [
        ([], 0),
        ([0.9, 0.8, 0.7], 0),
        ([0.9, 0.95], 0),
        ([0.9, 0.95, 0.9], 1),
        ([0.9, 0.95, 0.9, 0.91], 1),
        ([0.9, 0.95, 0.9, 0.91, 0.91], 2),
        ([0.9, 0.95, 0.8, 0.85, 0.7], 0),
        ([0.9, 0.95, 0.9, 0.8, 0.81, 0.82], 2),
    ],
)
def test_a_plateau_of_patience_epochs_drops_the_rate_once(losses, drops):
    assert count_drops(PLATEAU, losses) == drops


def test_other_courses_know_no_plateau():
    assert count_drops(Constant(name="constant"), [1.0, 2.0, 3.0, 4.0]) == 0


@pytest.mark.parametrize("drops", [0, 1, 3])
def test_each_drop_multiplies_the_rate(drops):
    given = learning_rate(PLATEAU, RATE, step=7, steps_of_an_epoch=2, epochs=9, drops=drops)
    assert given == pytest.approx(RATE * 0.5**drops)


EVERY_COURSE = [
    {"name": "constant"},
    {"name": "step", "step_epochs": 2},
    {"name": "multistep", "milestones": [2]},
    {"name": "exponential"},
    {"name": "cosine"},
    {"name": "one_cycle", "max_learning_rate": 1.0},
    {"name": "reduce_on_plateau"},
]


@pytest.mark.parametrize("scheduler", EVERY_COURSE, ids=lambda course: course["name"])
def test_every_course_warms_up_in_a_line(scheduler):
    given = rates({**scheduler, "warmup_epochs": 1.0}, epochs=4, steps_of_an_epoch=4)
    assert given[:4] == pytest.approx([RATE / 5, RATE * 2 / 5, RATE * 3 / 5, RATE * 4 / 5])
    assert given[4] == pytest.approx(RATE)

import math

import pytest

from core.domain.training_config import resolve
from core.domain.training_options import ReduceOnPlateau
from core.errors import TrainingError
from core.training.schedules import learning_rate

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


def test_a_scheduler_that_is_not_here_is_refused():
    with pytest.raises(TrainingError) as caught:
        learning_rate(ReduceOnPlateau(name="reduce_on_plateau"), RATE, step=0, steps_of_an_epoch=1, epochs=1)
    assert caught.value.code == "unsupported_option"

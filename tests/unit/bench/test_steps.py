import json

import pytest

from bench.steps import Slowness, Step, StepWriter, count_at_once, count_repeated, do_steps, first_after, read_steps


def run(name: str, *numbers: int, begins: float = 0.0) -> list[Step]:
    return [Step(name, 1, number, begins + place) for place, number in enumerate(numbers)]


def test_steps_are_read_in_the_order_in_which_they_were_done(tmp_path):
    file = tmp_path / "steps"
    late, early = run("a", 2, begins=5.0)[0], run("b", 1, begins=1.0)[0]
    file.write_text("".join(json.dumps(vars(step)) + "\n" for step in (late, early)))

    assert read_steps(file) == [early, late]


def test_a_line_that_was_cut_off_by_a_kill_is_no_step(tmp_path):
    file = tmp_path / "steps"
    StepWriter(file).write(1)
    with file.open("a") as lines:
        lines.write('{"run": "x", "pi')

    assert [step.number for step in read_steps(file)] == [1]


def test_no_file_has_no_steps(tmp_path):
    assert read_steps(tmp_path / "none") == []


def test_each_run_has_a_name_of_its_own(tmp_path):
    file = tmp_path / "steps"
    StepWriter(file).write(1)
    StepWriter(file).write(1)

    assert len({step.run for step in read_steps(file)}) == 2


def test_the_job_does_as_many_steps_as_it_is_told(tmp_path, monkeypatch):
    for name, value in {**Slowness("epoch", 0.0).variables(tmp_path / "steps"), "BENCH_STEPS_COUNT": "3"}.items():
        monkeypatch.setenv(name, value)

    do_steps()

    assert [step.number for step in read_steps(tmp_path / "steps")] == [1, 2, 3]


def test_the_next_step_is_another_run_s(tmp_path):
    steps = [*run("killed", 1, 2, 3), *run("next", 1, begins=9.0)]

    assert first_after(steps, 1.5, but="killed") == steps[-1]
    assert first_after(steps, 9.5, but="killed") is None


def test_steps_done_again_are_counted():
    assert count_repeated([*run("a", 1, 2, 3), *run("b", 1, 2, 3, 4, begins=5)]) == 3


@pytest.mark.parametrize(("begins", "copies"), [(10.0, 1), (1.0, 2)])
def test_copies_at_once_are_those_whose_times_overlap(begins, copies):
    assert count_at_once([*run("a", 1, 2, 3), *run("b", 1, 2, begins=begins)]) == copies


def test_no_steps_are_no_copies():
    assert count_at_once([]) == 0

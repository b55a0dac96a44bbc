"""A speed that chooses is measured once on a machine."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from core.training.speeds import measure_once

WORK = {"network": ["a layer"], "threads": 1}


def refuse() -> float:
    pytest.fail("it was measured before")


def test_what_was_measured_is_not_measured_again(tmp_path):
    folder = tmp_path / "new" / "speeds"
    assert measure_once(folder, WORK, lambda: 1.25) == 1.25
    assert measure_once(folder, dict(reversed(WORK.items())), refuse) == 1.25
    assert len(list(folder.iterdir())) == 1


def test_other_work_is_measured_by_itself(tmp_path):
    measure_once(tmp_path, WORK, lambda: 1.25)
    assert measure_once(tmp_path, {**WORK, "threads": 2}, lambda: 0.5) == 0.5


def test_without_a_folder_it_is_measured_each_time():
    speeds = iter((1.0, 2.0))
    assert [measure_once(None, WORK, lambda: next(speeds)) for _ in range(2)] == [1.0, 2.0]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"figure": "fast"}', "\x00"])
def test_a_note_that_cannot_be_read_is_replaced(tmp_path, content):
    measure_once(tmp_path, WORK, lambda: 1.0)
    (note,) = tmp_path.iterdir()
    note.write_text(content)
    assert measure_once(tmp_path, WORK, lambda: 2.0) == 2.0
    assert measure_once(tmp_path, WORK, refuse) == 2.0


def test_a_figure_that_cannot_be_noted_holds_all_the_same(tmp_path, monkeypatch):
    def refuse_links(*_: object) -> None:
        raise PermissionError("this file system has no links")

    monkeypatch.setattr("os.link", refuse_links)
    assert measure_once(tmp_path, WORK, lambda: 1.25) == 1.25
    assert list(tmp_path.iterdir()) == []
    no_folder = tmp_path / "file"
    no_folder.touch()
    assert measure_once(no_folder, WORK, lambda: 1.5) == 1.5


def test_those_that_measure_together_go_by_one_figure(tmp_path):
    together = Barrier(4)

    def measure(figure: int) -> float:
        together.wait(10)
        return figure

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda figure: measure_once(tmp_path, WORK, lambda: measure(figure)), range(4)))
    assert len(found) == 1
    assert measure_once(tmp_path, WORK, refuse) in found

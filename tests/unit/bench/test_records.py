import pytest

from bench.figures import Figure, Goal, Sample
from bench.machine import Machine, read_processor
from bench.page import render
from bench.records import Record, append, read, replace

MACHINE = Machine("a processor", 2, "3.11.7", {"torch": "2.13.0"})


def record(bench: str, value: float, goal: Goal | None = None) -> Record:
    figure = Figure(f"time of {bench}", Sample((value, value + 1)), "s", goal)
    return Record(bench, f"What about {bench}?", "2026-11-21", 0.25, MACHINE, figure)


def test_records_come_back_from_a_file(tmp_path):
    kept = [record("one", 1.0, Goal(3, "at most", 2.0)), record("two", 2.0)]
    for each in kept:
        append(tmp_path / "figures.jsonl", each)

    assert read(tmp_path / "figures.jsonl") == kept


def test_a_file_that_is_not_there_has_no_records(tmp_path):
    assert read(tmp_path / "figures.jsonl") == []


def test_a_new_run_replaces_the_figures_of_its_benchmark_alone(tmp_path):
    file = tmp_path / "figures.jsonl"
    for each in (record("one", 1.0), record("two", 2.0)):
        append(file, each)

    replace(file, [record("one", 5.0)], of="one")

    assert read(file) == [record("two", 2.0), record("one", 5.0)]


def test_the_page_states_hardware_spread_goals_and_what_was_missed():
    page = render(
        [record("two", 2.0, Goal(4, "at most", 1.0)), record("one", 1.0, Goal(3, "at most", 2.0))], ["one", "two"]
    )

    assert page.index("What about one?") < page.index("What about two?")
    assert "a processor, 2 cores; Python 3.11.7, torch 2.13.0; load average before: 0.25" in page
    assert "| time of one | 1.5 s | 2 | 1–2 | 3: ≤ 2 | yes |" in page
    assert "| time of two | 2.5 s | 2 | 2–3 | 4: ≤ 1 | **no** |" in page


def test_the_page_leaves_out_what_is_no_longer_a_benchmark():
    assert "gone" not in render([record("gone", 1.0)], ["one"])


@pytest.mark.parametrize(
    ("text", "name"), [("processor: 0\nmodel name\t: Fast One\nmodel name\t: Fast One\n", "Fast One")]
)
def test_the_processor_is_named_as_the_kernel_names_it(tmp_path, text, name):
    (tmp_path / "cpuinfo").write_text(text)

    assert read_processor(tmp_path / "cpuinfo") == name


def test_a_processor_without_a_name_is_known_by_its_architecture(tmp_path):
    assert read_processor(tmp_path / "missing")

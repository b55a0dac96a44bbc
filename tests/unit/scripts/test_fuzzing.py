import sys
from pathlib import Path

import pytest

TOLD = """
Done 1234 runs in 9 second(s)
stat::number_of_executed_units: 1234
stat::slowest_unit_time_sec:    3
stat::peak_rss_mb:              98
"""


@pytest.fixture
def kept(fuzzing, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzzing, "KEPT", tmp_path)
    return tmp_path


@pytest.fixture
def packages(fuzzing, require):
    """Return the folder of the fuzzer, which `make fuzz` installs beside the environment."""
    found = [path.parent for path in Path(sys.prefix).glob("fuzz-*/.done")]
    require(bool(found), "the fuzzer is not installed: make fuzz MINUTES=0.1")
    return found[0]


def test_the_last_words_of_the_fuzzer_become_figures(fuzzing):
    outcome = fuzzing.read_outcome("zip", TOLD, [])
    assert (outcome.executions, outcome.seconds, outcome.megabytes) == (1234, 3, 98)
    assert (outcome.crashes, outcome.limits_exceeded) == (0, 0)
    assert "1,234 executions  0 crashes" in fuzzing.describe(outcome)


@pytest.mark.parametrize(
    ("name", "told", "counts"),
    [
        ("crash-1", "ValueError", (1, 0)),
        ("crash-1", "fuzz.program.LimitExceeded: 3.1 s", (0, 1)),
        ("timeout-1", "", (0, 1)),
        ("oom-1", "", (0, 1)),
    ],
)
def test_crashes_are_told_from_limits_that_were_exceeded(fuzzing, name, told, counts):
    outcome = fuzzing.read_outcome("zip", told, [Path(name)])
    assert (outcome.crashes, outcome.limits_exceeded) == counts


def test_the_sum_has_the_most_of_time_and_memory(fuzzing):
    one, other = (fuzzing.read_outcome("zip", told, []) for told in (TOLD, TOLD.replace("98", "120")))
    total = fuzzing.total([one, other])
    assert (total.executions, total.seconds, total.megabytes) == (2468, 3, 120)


def test_seeds_are_written_once_and_what_was_kept_stays(fuzzing, kept):
    folder = fuzzing.write_seeds("json")
    (folder / "mine").write_bytes(b"{}")
    before = set(folder.iterdir())
    assert len(before) > 5
    assert set(fuzzing.write_seeds("json").iterdir()) == before


def test_a_fuzzer_that_fails_by_itself_is_no_success(fuzzing, kept, tmp_path):
    with pytest.raises(SystemExit, match="the fuzzer itself failed"):
        fuzzing.fuzz("json", minutes=0.01, packages=tmp_path)


def test_a_planted_fault_is_found_and_reported(fuzzing, kept, packages, tmp_path, capsys):
    # `assert` in a target is as good as a fault of the reader: one is planted into the reader that the child imports.
    planted = tmp_path / "sitecustomize.py"
    planted.write_text(
        "import fuzz.targets as targets\n"
        "def fall(data):\n    assert not data.startswith(b'[')\n"
        "targets.TARGETS = {'json': fall}\n"
    )
    outcome = fuzzing.fuzz("json", minutes=0.2, packages=f"{packages}:{tmp_path}")
    assert (outcome.crashes, outcome.limits_exceeded, len(outcome.broken)) == (1, 0, 1)
    assert outcome.broken[0].read_bytes().startswith(b"[")
    assert "1 crashes" in capsys.readouterr().out

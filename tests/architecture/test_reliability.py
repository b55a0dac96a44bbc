"""The page of promises names tests that are there, and every fault of the plan."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "reliability.md").read_text(encoding="utf-8")
_LAST_FAULT = 40


def test_every_test_that_proves_a_promise_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 40
    for file, test in named:
        names = [one.name for one in ast.parse((ROOT / file).read_text()).body if isinstance(one, ast.FunctionDef)]
        assert not test or test in names, f"{file}::{test}"


def test_every_fault_has_its_row() -> None:
    rows = PAGE.split("## The faults")[1]
    told = {int(number) for number in re.findall(r"F(\d+)", rows)}
    for first, last in re.findall(r"F(\d+)-F(\d+)", rows):
        told.update(range(int(first), int(last) + 1))
    assert told == set(range(1, _LAST_FAULT + 1))

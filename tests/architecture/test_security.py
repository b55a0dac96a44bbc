"""The page of attacks names tests that are there, and has each attack of the plan."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
_LAST_ATTACK = 87
_OPEN = "not written yet"
# How many rows may still say so; it only ever falls.
_MOST_OPEN = 0


def _rows() -> dict[int, str]:
    """Return what the table says of each attack."""
    found = re.findall(r"^\| A(\d+) [^|]+\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(found) == len(dict(found)), "an attack has two rows"
    return {int(number): told for number, told in found}


def _tests(file: Path) -> list[str]:
    return [node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]


def test_every_attack_has_its_row() -> None:
    assert sorted(_rows()) == list(range(1, _LAST_ATTACK + 1))


@pytest.mark.parametrize("number", range(1, _LAST_ATTACK + 1))
def test_each_row_names_a_test_that_is_there_or_says_why_there_is_none(number: int) -> None:
    told = _rows()[number]
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", told)
    for file, test in named:
        assert not test or test in _tests(ROOT / file), f"{file}::{test}"
    assert named or len(told.split()) > 2, f"A{number}: neither a test nor a reason"


def test_no_more_attacks_are_open_than_were() -> None:
    assert sum(told == _OPEN for told in _rows().values()) <= _MOST_OPEN


def test_every_attack_of_the_suite_has_its_place_in_the_table() -> None:
    rows = _rows()
    for file in (ROOT / "tests" / "security").glob("test_*.py"):
        for name in _tests(file):
            if found := re.match(r"test_a(\d\d)_", name):
                assert rows[int(found[1])] != _OPEN, f"{file.name}::{name}"

"""Every mutation fits the code as it is, and what it names is there; that its tests fail, `make mutations` sees to."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_each_safeguard_is_where_the_mutation_looks_for_it(mutations):
    for mutation in mutations.MUTATIONS:
        assert (ROOT / mutation.file).read_text().count(mutation.before) == 1, mutation.name


def test_each_test_that_is_to_fail_is_there(mutations):
    for test in {test for mutation in mutations.MUTATIONS for test in mutation.tests}:
        file, _, name = test.partition("::")
        names = [one.name for one in ast.parse((ROOT / file).read_text()).body if isinstance(one, ast.FunctionDef)]
        assert not name or name in names, test


def test_a_safeguard_is_out_for_the_block_alone(mutations, tmp_path):
    (tmp_path / "code.py").write_text("one\ntwo\n")
    mutation = mutations.Mutation("two", "code.py", "two\n", "", ())
    with mutations.applied(tmp_path, mutation):
        assert (tmp_path / "code.py").read_text() == "one\n"
    assert (tmp_path / "code.py").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("text", ["one\n", "two\ntwo\n"])
def test_a_mutation_that_does_not_fit_is_refused(mutations, tmp_path, text):
    (tmp_path / "code.py").write_text(text)
    mutation = mutations.Mutation("two", "code.py", "two\n", "", ())
    with pytest.raises(ValueError, match=r"times in code\.py"), mutations.applied(tmp_path, mutation):
        pass


def test_a_test_that_passes_without_its_safeguard_is_told(mutations, tmp_path, monkeypatch, capsys):
    (tmp_path / "code.py").write_text("two\n")
    monkeypatch.setattr(mutations, "find_failure", lambda tree, test: "" if test == "idle" else "assert 1 == 2")
    mutation = mutations.Mutation("the two", "code.py", "two\n", "", ("keen", "idle"))
    assert mutations.try_out(tmp_path, mutation) is None
    assert "GREEN without it: idle" in capsys.readouterr().out

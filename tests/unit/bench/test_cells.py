from collections import Counter
from dataclasses import replace

from bench.cells import Cell, find_missing, keep_outcome, make_grid, read_outcomes


def test_a_grid_has_every_recipe_once_before_it_has_one_twice():
    grid = make_grid(["mnist", "cifar10"], ["fast", "best"], [0, 1])
    assert len(grid) == len(set(grid)) == 8
    assert {(cell.dataset, cell.recipe) for cell in grid[:4]} == {(cell.dataset, cell.recipe) for cell in grid[4:]}
    assert [cell.seed for cell in grid] == [0] * 4 + [1] * 4


def test_what_was_kept_is_read_back_and_not_run_again(tmp_path, make_outcome):
    file = tmp_path / "deep" / "cells.jsonl"
    keep_outcome(file, make_outcome("fast"))
    keep_outcome(file, make_outcome("best", test_accuracy=0.996))
    outcomes = read_outcomes(file)
    assert outcomes[Cell("mnist", "best", 0)] == make_outcome("best", test_accuracy=0.996)
    grid = make_grid(["mnist"], ["fast", "best", "lenet-wide"], [0])
    assert find_missing(grid, outcomes) == [Cell("mnist", "lenet-wide", 0)]


def test_nothing_was_run_where_there_is_no_file(tmp_path):
    assert read_outcomes(tmp_path / "cells.jsonl") == {}


def test_a_cell_that_failed_is_run_again_and_its_newest_outcome_counts(tmp_path, make_outcome):
    file = tmp_path / "cells.jsonl"
    keep_outcome(file, make_outcome(error="The loss is no longer a number.", test_accuracy=None))
    grid = make_grid(["mnist"], ["fast"], [0])
    assert find_missing(grid, read_outcomes(file)) == grid
    keep_outcome(file, make_outcome())
    assert find_missing(grid, read_outcomes(file)) == []


def test_another_versions_recipe_of_the_same_name_is_another_training(tmp_path, make_outcome):
    file = tmp_path / "cells.jsonl"
    keep_outcome(file, make_outcome(digest="of another version"))
    keep_outcome(file, replace(make_outcome(), cell=Cell("mnist", "a-recipe-of-old", 0)))
    assert read_outcomes(file) == {}


def test_the_digest_tells_seeds_and_recipes_apart():
    digests = {cell.digest for cell in make_grid(["mnist"], ["fast", "best"], [0, 1])}
    assert len(digests) == 4


def test_a_row_has_as_many_seeds_as_its_goal_asks_for_and_photos_train_the_default_alone():
    grid = make_grid(["mnist", "sign-digits"], ["lenet5-modern", "best", "lenet-wide"])
    rows = Counter((cell.dataset, cell.recipe) for cell in grid)
    assert rows == {
        ("mnist", "lenet5-modern"): 3,
        ("mnist", "best"): 5,
        ("mnist", "lenet-wide"): 3,
        ("sign-digits", "lenet5-modern"): 5,
    }
    assert [cell.seed for cell in grid] == sorted(cell.seed for cell in grid)

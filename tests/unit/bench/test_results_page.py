from bench.cells import make_grid
from bench.results_page import write_page

GRID = make_grid(["mnist", "cifar10"], ["fast", "best"], [0, 1, 2])


def page(*outcomes):
    return write_page(GRID, {outcome.cell: outcome for outcome in outcomes})


def row(text, recipe, *, dataset="MNIST"):
    (line,) = [line for line in text.split(f"## {dataset}\n")[1].split("##")[0].splitlines() if f"`{recipe}`" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_recipe_that_was_not_run_says_so():
    assert row(page(), "best")[:3] == ["`best`", "0", "not yet run"]


def test_every_row_has_as_many_cells_as_the_head(make_outcome):
    text = page(make_outcome(), make_outcome("best", error="It diverged."))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 8
    assert {line.count("|") for line in tables} == {10}


def test_a_row_has_the_mean_the_spread_and_how_many(make_outcome):
    outcomes = [make_outcome(seed=seed, test_accuracy=0.990 + seed / 1000) for seed in range(3)]
    cells = row(page(*outcomes), "fast")
    assert cells[1:5] == ["3", "99.10 % (99.00 %–99.20 %)", "0.0300", "1"]
    assert cells[7] == "61,728"


def test_a_goal_is_reached_or_missed_by_the_mean(make_outcome):
    for last, verdict in ((0.985, "reached"), (0.984, "MISSED")):
        accuracies = enumerate((0.995, 0.99, last))
        outcomes = [make_outcome(seed=seed, test_accuracy=accuracy) for seed, accuracy in accuracies]
        assert row(page(*outcomes), "fast")[-1] == f"test ≥ 99.00 %: {verdict}"


def test_a_goal_by_fewer_seeds_than_it_asks_for_is_so_far_only(make_outcome):
    assert row(page(make_outcome()), "fast")[-1] == "test ≥ 99.00 %: reached so far"


def test_a_failure_is_shown_and_never_a_figure(make_outcome):
    failed = make_outcome(error="It diverged.", test_accuracy=None)
    assert row(page(failed), "fast")[2] == "failed: It diverged."
    assert row(page(failed, make_outcome(seed=1)), "fast")[1:3] == ["1, 1 failed", "99.10 %"]


def test_a_plot_is_shown_where_there_is_one(make_outcome):
    text = page(make_outcome())
    assert "results-mnist.svg" in text
    assert "results-cifar10.svg" not in text


def test_the_machines_are_named(make_outcome):
    text = page(make_outcome(), make_outcome(seed=1, machine="another processor"))
    assert "Run on a processor, 2 cores; and on another processor." in text

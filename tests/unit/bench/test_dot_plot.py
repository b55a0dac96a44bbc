from xml.etree import ElementTree as ET

from bench.dot_plot import draw_plot

SVG = "{http://www.w3.org/2000/svg}"


def drawn(outcomes):
    return ET.fromstring(draw_plot("MNIST <small>", outcomes))


def places(root, color):
    return [float(dot.get("cx")) for dot in root.iter(f"{SVG}circle") if dot.get("fill") == color]


def test_each_seed_is_a_dot_in_both_panels(make_outcome):
    root = drawn([make_outcome(recipe, seed) for recipe in ("fast", "best") for seed in range(3)])
    assert len(list(root.iter(f"{SVG}circle"))) == 2 * 6


def test_the_best_recipe_stands_first(make_outcome):
    outcomes = [make_outcome("fast"), make_outcome("best", test_accuracy=0.997)]
    texts = [text.text for text in drawn(outcomes).iter(f"{SVG}text")]
    assert texts[0] == "MNIST <small>"
    assert texts.index("best") < texts.index("fast")


def test_a_greater_error_stands_further_to_the_right_and_all_within_the_picture(make_outcome):
    outcomes = [make_outcome(seed=seed, test_accuracy=1 - 10 ** -(seed + 1)) for seed in range(3)]
    root = drawn(outcomes)
    errors = places(root, "#1f6fb4")
    assert errors == sorted(errors, reverse=True)
    assert all(0 < place < float(root.get("width")) for place in errors)


def test_equal_values_and_no_error_at_all_can_be_drawn(make_outcome):
    root = drawn([make_outcome(seed=seed, test_accuracy=1.0, seconds=5.0) for seed in range(2)])
    assert len(set(places(root, "#1f6fb4"))) == 1

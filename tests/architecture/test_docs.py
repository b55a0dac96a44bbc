"""The page on results shows every plot."""

from pathlib import Path

from PIL import Image

from core.domain.plots import PLOTS, plot_file

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_on_results_shows_every_plot() -> None:
    page = (DOCS / "explanation" / "results.md").read_text(encoding="utf-8")
    assert {path.name for path in (DOCS / "plots").iterdir()} == {plot_file(name) for name in PLOTS}
    for name in PLOTS:
        assert f"`{name}`" in page
        assert f"](../plots/{plot_file(name)})" in page
        Image.open(DOCS / "plots" / plot_file(name)).verify()

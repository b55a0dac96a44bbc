"""The page on results shows every plot."""

from pathlib import Path
from xml.etree import ElementTree as ET

from core.domain.plots import PLOTS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_on_results_shows_every_plot() -> None:
    page = (DOCS / "explanation" / "results.md").read_text(encoding="utf-8")
    assert {path.name for path in (DOCS / "plots").iterdir()} == {f"{name}.svg" for name in PLOTS}
    for name in PLOTS:
        assert f"`{name}`" in page
        assert f"](../plots/{name}.svg)" in page
        assert ET.parse(DOCS / "plots" / f"{name}.svg").getroot().tag.endswith("}svg")

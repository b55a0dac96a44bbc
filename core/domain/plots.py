"""The plots of a training, by name."""

from typing import Literal, get_args

PlotName = Literal["history", "confusion_matrix", "predictions", "mistakes", "filters", "feature_maps"]
PLOTS: tuple[PlotName, ...] = get_args(PlotName)
HISTORY: PlotName = "history"
"""The one that a running training has too."""


def plot_file(name: str) -> str:
    """Return the name of the artifact that a plot is."""
    return f"{name}.png"

"""Draws the history of a training in a process of its own: JSON in, a PNG file out.

``python -m core.reporting`` reads ``{"title", "epochs": [{"epoch", "train_loss", …}]}`` from its standard input and
writes the picture to its standard output. Whoever asks needs no drawing library in memory, and loses nothing but the
picture where drawing goes wrong.
"""

import json
import os
import sys

from core.reporting.figures import encode_figure, styled
from core.reporting.history_plot import draw_history

_NICE = 10


def main() -> None:
    """Draw what is asked for, behind everything else that wants the processor."""
    os.nice(_NICE)
    asked = json.load(sys.stdin)
    with styled():
        sys.stdout.buffer.write(encode_figure(draw_history(asked["epochs"], title=asked["title"]), {}))


if __name__ == "__main__":
    main()

"""The program behind ``make demo``: the whole platform at work on real handwritten digits."""

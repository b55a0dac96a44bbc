"""The program behind ``make demo``: the whole platform at work on pictures that it draws itself."""

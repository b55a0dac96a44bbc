"""Benchmarks: one file for each question; ``python -m bench`` asks them all and writes ``docs/benchmarks.md``."""

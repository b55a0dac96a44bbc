"""``docs/benchmarks.md``: the figures that are on file, as tables."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from bench.figures import Figure, shorten
from bench.records import Record

_HEAD = """\
# Benchmarks

Written by `make bench`, which takes hours; the figures themselves are in `benchmarks.jsonl` beside this
page. `python -m bench NAME` measures one benchmark anew and rewrites both; `LENET_TEST_DATA` must name the folder of
real images (`mnist/*.gz` and `cifar10-jpg.zip` in it). With `--quick` it only shows that the benchmark works: what it
then says is no measurement.

Each ratio is taken within one run: its two sides alternate, and it is the ratio of each round that is listed, by its
median and its least and greatest value. Figures from different runs, or different machines, are not to be compared. The
goals are this project's own; a figure without one explains another.
"""
_TABLE = "| what | median | n | least–greatest | goal | reached |\n| --- | ---: | ---: | --- | --- | --- |\n"


def render(records: Sequence[Record], order: Sequence[str]) -> str:
    """Return the page, benchmarks in the given order; those that are not in it are left out."""
    known = [record for record in records if record.bench in order]
    ranked = sorted(known, key=lambda record: order.index(record.bench))
    sections = [_render_section(list(group)) for _, group in groupby(ranked, key=lambda record: record.bench)]
    return "\n".join([_HEAD, *sections])


def _render_section(records: Sequence[Record]) -> str:
    first = records[0]
    place = f"{first.machine.line()}; load average before: {first.load:.2f}"
    about = f"`python -m bench.{first.bench}`, {first.day}, on {place}."
    return f"## {first.question}\n{about}\n\n{_TABLE}{''.join(_render_rows(records))}"


def _render_rows(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        yield f"| {' | '.join(_cells(record.figure))} |\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    sample = figure.sample
    return (
        figure.name,
        f"{shorten(sample.median)} {figure.unit}",
        str(sample.n),
        f"{shorten(sample.low)}–{shorten(sample.high)}" if sample.n > 1 else "",
        f"{figure.goal.number}: {figure.goal}" if figure.goal else "",
        {True: "yes", False: "**no**", None: ""}[figure.reached],
    )

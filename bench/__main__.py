"""``python -m bench [NAME …]``: asks benchmarks, all by default, and writes ``docs/benchmarks.md`` of the answers."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.command import end_in_order
from bench.page import render
from bench.records import read, replace

BENCHES = (
    *(
        "training_speed",
        "augmentation",
        "more_data",
        "time_to_accuracy",
        "color_accuracy",
        "from_zip",
        "numpy_engine",
        "gpu",
    ),
    *("ingest", "second_job"),
    *("concurrency", "shared_pack", "product_overhead", "first_batch"),
    *("prediction", "limiter", "upload"),
    *("round_trip", "claim_speed", "service_speed", "kills", "chaos", "recovery"),
)
"""In the order of the goals: training, ingest, the queue, the service, and what becomes of what is killed."""
DOCS = Path(__file__).parents[1] / "docs"
RECORDS, PAGE = DOCS / "benchmarks.jsonl", DOCS / "benchmarks.md"


def main() -> int:
    """Run the benchmarks that the command line names, each in a process of its own, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="few and small measurements; nothing is written")
    options = parser.parse_args()
    end_in_order()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    failed = [name for name in options.names or BENCHES if not _ask(name, quick=options.quick)]
    if not options.quick:
        write_page()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def write_page() -> None:
    """Write the page of what is on file."""
    PAGE.write_text(render(read(RECORDS), BENCHES), encoding="utf-8")


def _ask(name: str, *, quick: bool) -> bool:
    """Run a benchmark and put its figures on file; return whether it went through."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "figures.jsonl"
        command = [sys.executable, "-m", f"bench.{name}", "--json", str(found), *(["--quick"] if quick else [])]
        passed = _run(command) == 0
        # One that has measured nothing here, for want of a GPU, leaves what was measured elsewhere.
        if passed and not quick and found.exists():
            replace(RECORDS, read(found), of=name)
    return passed


def _run(command: list[str]) -> int:
    """Run a command to its end, also where this program is asked to end: then it is asked too, and waited for."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise


if __name__ == "__main__":
    sys.exit(main())

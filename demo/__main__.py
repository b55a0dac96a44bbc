"""``make demo``: three trainings at once on the worker pool, over HTTP alone, from pictures to a model on disk.

Exit status: 0 all went well; 1 something did not, and the last lines say what.
"""

import argparse
import io
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from client import render
from client.errors import InputError, LenetError
from client.measures import duration, percent, plain, size
from client.sdk import Client
from client.types import Prediction
from client.watch import Board
from demo import pool
from demo.digits import write_archive
from demo.platform import PlatformError, keep_logs, running_platform

LEAST_ACCURACY = 0.95
OUTPUT = Path(".lenet/demo")
PICTURE_COLUMNS = 92
TERMINATED = 143
GO_ON = """\
All of it went over HTTP. Every process is stopped and its data is gone.
  make up                      starts the same platform to stay; see the README
  DATA=pictures.zip make demo  does the same with your own pictures"""


Start = Callable[[Path], AbstractContextManager[Client]]


@contextmanager
def start_platform(folder: Path) -> Iterator[Client]:
    """Start the embedded platform with its data in ``folder`` and open a client of it; stop both at the end."""
    with running_platform(folder) as platform, Client(platform.url, platform.key) as client:
        yield client


def main(arguments: Sequence[str] | None = None, *, start: Start = start_platform) -> int:
    """Run the demo by the command line, on what ``start`` starts, and return its exit status."""
    options = _parser().parse_args(arguments)
    console = render.open_console()
    with tempfile.TemporaryDirectory(prefix="lenet-demo-") as name:
        folder = Path(name)
        wrong = _run_guarded(options, folder, console=console, start=start)
        for sentence in wrong or [GO_ON]:
            _say(console, sentence)
        if wrong and (logs := keep_logs(folder, options.output / "logs")):
            _say(console, f"The platform's logs are kept in {logs[0].parent}.")
    return 1 if wrong else 0


def _run_guarded(options: argparse.Namespace, folder: Path, *, console: Console, start: Start) -> list[str]:
    """Run the demo and return what went wrong, in sentences."""
    try:
        return _run(options, folder, console=console, start=start)
    except PlatformError as error:
        return [str(error)]
    except LenetError as error:
        return [f"{error.detail} ({error.code})", *(f"  {fault.pointer}: {fault.detail}" for fault in error.faults)]
    except KeyboardInterrupt:
        return ["Interrupted; the platform is stopped."]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Three trainings at once, from ZIP to model.")
    parser.add_argument("--data", type=Path, metavar="ZIP", help="train on this archive instead of handwritten digits")
    parser.add_argument("--output", type=Path, metavar="FOLDER", default=OUTPUT, help=f"for models ({OUTPUT})")
    parser.add_argument("--picture", type=Path, metavar="SVG", help="write a picture of the results")
    return parser


def _run(options: argparse.Namespace, folder: Path, *, console: Console, start: Start) -> list[str]:
    archive = options.data or _write_digits(folder, console)
    if not archive.exists():
        raise InputError(f"There is no {archive}.")
    _say(console, "Starting the platform: database, queue, API, workers …")
    with start(folder) as client:
        _say(console, f"It answers at {client.url}.")
        trained = _train(client, archive, console)
        results = _gather(client, trained, archive=archive, folder=folder, output=options.output)
    console.print(Group(Text(), results, Text()))
    if options.picture:
        jobs = render.progress_table([one.job for one in trained])
        options.picture.write_text(_to_svg(Group(jobs, Text(), results)), encoding="utf-8")
    # Somebody else's pictures may be as hard as they like; the digits are known to be learnable.
    return pool.failings(trained, least_accuracy=None if options.data else LEAST_ACCURACY)


def _train(client: Client, archive: Path, console: Console) -> list[pool.Trained]:
    dataset = pool.upload(client, archive)
    images = f"{dataset.images_in('train'):,} training and {dataset.images_in('test'):,} test images"
    _say(console, f"Uploaded {archive.name}: {images} of {len(dataset.classes or ())} classes.")
    _say(console, f"Submitting {', '.join(pool.TRAININGS)} at once; each core trains one:")
    with Board(console) as board:
        return pool.train_all(client, dataset, board)


def _gather(
    client: Client, trained: Sequence[pool.Trained], *, archive: Path, folder: Path, output: Path
) -> RenderableType:
    """Return the results: the jobs, and what the best model says and is."""
    best = max(trained, key=lambda one: one.accuracy or 0.0)
    parts: list[RenderableType] = [_results(trained)]
    if best.report:
        if found := pool.predict_unseen(client, best.job, archive, folder):
            parts += [Text(), _predictions(found, by=best.job.name or "")]
        parts += [Text(), _files(pool.download_models(client, best.job, output))]
    return Group(*parts)


def _write_digits(folder: Path, console: Console) -> Path:
    archive = write_archive(folder / "digits.zip")
    _say(console, f"Wrote scikit-learn's handwritten digits as a ZIP of PNG files, {size(archive.stat().st_size)}.")
    return archive


def _results(trained: Sequence[pool.Trained]) -> Table:
    table = _table("test accuracy", "job", "status", "weights", "epochs", "time")
    for one in trained:
        job = one.job
        seconds = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
        weights = f"{job.parameters:,}" if job.parameters is not None else None
        cells = [percent(one.accuracy), job.name, render.status(job.status), weights, render.epochs_done(job)]
        table.add_row(*map(_cell, [*cells, duration(seconds)]))
    return table


def _predictions(found: Sequence[tuple[str, Prediction]], *, by: str) -> Table:
    table = _table("unseen picture of", f"{by} says", "confidence", "next")
    for true, one in found:
        style = "green" if one.class_name == true else "red"
        following = one.top[1] if len(one.top) > 1 else None
        other = f"{following.class_name} {percent(following.probability)}" if following else None
        table.add_row(*map(_cell, [true, render.text(one.class_name, style), percent(one.confidence), other]))
    return table


def _files(files: Mapping[Path, str]) -> Table:
    table = _table("downloaded", "size", "SHA-256, checked")
    for file, sha256 in files.items():
        table.add_row(*map(_cell, [file, size(file.stat().st_size), f"{sha256[:16]}…"]))
    return table


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(render.text(head))
    return table


def _cell(value: Text | str | Path | None) -> Text:
    return value if isinstance(value, Text) else render.text(value)


def _to_svg(shown: RenderableType) -> str:
    recorder = Console(record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True)
    recorder.print(shown)
    # The picture shall show the same without fetching a font from anywhere.
    return re.sub(r"@font-face \{.*?\}\s*", "", recorder.export_svg(title="make demo"), flags=re.DOTALL)


def _say(console: Console, sentence: str) -> None:
    for line in sentence.splitlines():
        console.print(plain(line), markup=False, soft_wrap=True)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    # As an exception, so that the platform is stopped on the way out.
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())

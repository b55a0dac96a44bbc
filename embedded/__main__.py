"""``python -m embedded up``: the whole platform in the foreground."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from core.settings import ENVIRONMENT_PREFIX, Settings
from embedded.console import Console
from embedded.errors import KeepsDyingError, StartError
from embedded.start import run

EXIT_OK, EXIT_DIED, EXIT_CANNOT_START = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the platform by the command line and return the exit status once it has stopped."""
    options = _parser().parse_args(arguments)
    console = Console(quiet=options.quiet)
    try:
        run(_settings(options), console)
    except StartError as error:
        print(f"error: {error.detail}", file=sys.stderr)  # noqa: T201 - the answer of a command
        return EXIT_CANNOT_START
    except KeepsDyingError as error:
        print(f"error: {error.detail}", file=sys.stderr)  # noqa: T201 - the answer of a command
        return EXIT_DIED
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m embedded", description="The whole platform on this machine.")
    up = parser.add_subparsers(dest="command", required=True).add_parser(
        "up", help="start Redis, API, workers and beat, and stop them all on Ctrl-C"
    )
    up.add_argument(
        "--port", type=int, metavar="N", help="port of the API, 0 for a free one (LENET_API_PORT, else 8000)"
    )
    up.add_argument("--data-dir", type=Path, metavar="D", help="folder of all data (LENET_DATA_DIR, else data)")
    up.add_argument("--quiet", action="store_true", help="say only what goes wrong")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings: the environment's, with what the command line says instead."""
    said = {"api_port": options.port, "data_dir": options.data_dir}
    try:
        return Settings(**{name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        faults = (f"{_variable(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise StartError(f"Settings cannot be used: {'; '.join(faults)}") from error


def _variable(location: tuple[int | str, ...]) -> str:
    return ENVIRONMENT_PREFIX + "_".join(str(part) for part in location).upper()


if __name__ == "__main__":
    sys.exit(main())

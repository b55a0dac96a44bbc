"""Files that the client writes: whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from client.errors import InputError


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Give a temporary file beside ``target`` that takes its place at the end, or goes where an error comes.

    A link is followed, and what is no file, as a pipe or a device, is written to at the end.

    Raises:
        InputError: The file cannot be written there.
    """
    target = Path(os.path.realpath(target))
    with ExitStack() as stack:
        if target.exists() and not target.is_file() and not target.is_dir():
            yield stack.enter_context(_written_at_the_end(target))
            return
        try:
            file = stack.enter_context(
                tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False)
            )
            stack.callback(Path(file.name).unlink, missing_ok=True)
            yield file
            file.close()
            _publish(Path(file.name), target)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror or error}.") from error


@contextmanager
def _written_at_the_end(target: Path) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        try:
            with target.open("wb") as opened:
                shutil.copyfileobj(file, opened)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror or error}.") from error


def write_file(target: Path, content: bytes) -> Path:
    """Write a file and return its path; raise `InputError` where that fails."""
    with replacing(target) as file:
        file.write(content)
    return target


def _publish(temporary: Path, target: Path) -> None:
    # A temporary file is for its owner alone; a download is a file like any other.
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)
    temporary.replace(target)


def make_folder(folder: Path) -> None:
    """Make a folder where there is none; raise `InputError` where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}.") from error

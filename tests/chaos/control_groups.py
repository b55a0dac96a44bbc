"""Control groups of the kernel, of version 1 or 2: what is in one gets little of something, or is frozen with it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from chaos.processes import until

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def control_group(
    controller: str, *, first: Mapping[str, str], second: Mapping[str, str], root: Path = _ROOT
) -> Iterator[Path | None]:
    """Yield a control group until it is empty; ``None`` where none can be made here.

    Args:
        controller: Whose group it is; version 2 needs none to freeze.
        first: What its files are to say in version 1, by their names.
        second: The same in version 2.
        root: Where control groups are mounted.
    """
    is_second = (root / "cgroup.controllers").exists()
    folder = (root if is_second else root / controller) / f"chaos-{controller}-{os.getpid()}"
    try:
        if is_second and controller in (root / "cgroup.controllers").read_text().split():
            (root / "cgroup.subtree_control").write_text(f"+{controller}")
        folder.mkdir()
        for file, value in (second if is_second else first).items():
            (folder / file).write_text(value)
    except OSError:
        if folder.is_dir():
            folder.rmdir()
        yield None
        return
    try:
        yield folder
    finally:
        until(lambda: not (folder / "cgroup.procs").read_text(), "the control group is empty")
        folder.rmdir()


def freezer(root: Path = _ROOT) -> AbstractContextManager[Path | None]:
    """Yield a control group that can be `frozen`; see `control_group`."""
    return control_group("freezer", first={"freezer.state": "THAWED"}, second={"cgroup.freeze": "0"}, root=root)


@contextmanager
def frozen(group: Path) -> Iterator[None]:
    """Keep everything in a group of `freezer` from running."""
    second = (group / "cgroup.freeze").exists()
    file, stop, go = ("cgroup.freeze", "1", "0") if second else ("freezer.state", "FROZEN", "THAWED")
    (group / file).write_text(stop)
    try:
        yield
    finally:
        (group / file).write_text(go)

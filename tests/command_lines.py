"""What the processes below the tests were started with; one that ends meanwhile has nothing to say."""

import psutil


def command_line(process: psutil.Process) -> str:
    """Return the words a process was started with, or "" where it has ended (a zombie has, too)."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def children_with(*words: str, recursive: bool = False, of: psutil.Process | None = None) -> list[psutil.Process]:
    """Return the children of a process, by default this one, whose command line has every word."""
    children = (of or psutil.Process()).children(recursive=recursive)
    return [child for child in children if all(word in command_line(child) for word in words)]

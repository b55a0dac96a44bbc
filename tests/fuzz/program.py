"""The coverage-guided fuzzer of one target: ``python -m fuzz.program TARGET [libFuzzer's options and folders]``.

`scripts/fuzzing.py` starts it. What is instrumented is our own code and Pillow's Python: where a change of the input
reaches a new branch of it, the input is kept and changed further.
"""

import sys
import time

import atheris

with atheris.instrument_imports(include=["core", "api", "PIL"], enable_loader_override=False):
    from fuzz.targets import TARGETS, Target

MOST_SECONDS = 2.0


class LimitExceeded(Exception):  # noqa: N818 - what the report counts
    """An input takes longer than any of its size should."""


def timed(target: Target) -> Target:
    """Return the target under a bound on its time on the processor: the clock runs on while others compute."""

    def run(data: bytes) -> None:
        begun = time.process_time()
        target(data)
        used = time.process_time() - begun
        if used > MOST_SECONDS:
            raise LimitExceeded(f"{used:.1f} s for {len(data)} bytes")

    return run


def main() -> None:
    """Run until the options say that it is over, or the target crashes."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, timed(target))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

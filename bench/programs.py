"""Programs of this checkout as processes: started together, their answers awaited, their times by one clock."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def ask_program(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run ``python -m module`` and return the JSON on its last line."""
    return ask_programs(module, arguments, count=1, environment=environment)[0]


def ask_programs(
    module: str, arguments: Sequence[str], *, count: int, environment: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Run ``count`` of the same program at once and return each one's answer.

    Raises:
        subprocess.CalledProcessError: One has failed; what it said stands on this process's standard error.
    """
    command = [sys.executable, "-m", module, *arguments]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
        for _ in range(count)
    ]
    return [_answer(process) for process in started]


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer

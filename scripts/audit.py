"""Asks a public source of advisories whether anything that is locked is known to be vulnerable.

Without an answer in time nothing is known, which is said and is no failure: a machine may be offline.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "locks/dev.txt"
PINS_BY_MACHINE = "constraints-cpu.txt"
# For one answer, and for all of them.
ANSWER_SECONDS = 3
TOTAL_SECONDS = 60
# Advisories that do not concern us, each with the reason and the day to look again.
IGNORED: dict[str, str] = {}


def command() -> list[str]:
    """Return what asks: for the pins as they stand, nothing is resolved or installed."""
    given = [part for name in (LOCK, PINS_BY_MACHINE) for part in ("--requirement", name)]
    ignored = [part for name in IGNORED for part in ("--ignore-vuln", name)]
    options = ["--no-deps", "--disable-pip", "--vulnerability-service", "osv", "--timeout", str(ANSWER_SECONDS)]
    return [sys.executable, "-m", "pip_audit", *given, *ignored, *options, "--format", "json", "--progress-spinner=off"]


def ask() -> subprocess.CompletedProcess[str] | None:
    """Return the answer; ``None`` where there was none in time."""
    try:
        return subprocess.run(command(), check=False, capture_output=True, text=True, cwd=ROOT, timeout=TOTAL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def read_findings(answer: subprocess.CompletedProcess[str] | None) -> list[str] | None:
    """Return a line for each advisory; ``None`` where no source has answered."""
    if answer is None:
        return None
    try:
        told = json.loads(answer.stdout)
    except ValueError:
        return None
    return [
        f"{one['name']} {one['version']}: {advisory['id']}, fixed in {', '.join(advisory['fix_versions']) or 'none'}"
        for one in told["dependencies"]
        for advisory in one.get("vulns", ())
    ]


def main() -> int:
    """Say what was found and return the exit status: 1 where there is anything."""
    answer = ask()
    findings = read_findings(answer)
    if findings is None:
        last = (answer.stderr.strip().splitlines() or ["no words"])[-1] if answer else f"none in {TOTAL_SECONDS} s"
        print(f"audit: skipped, for no source of advisories has answered ({last[:120]})")
        return 0
    for finding in findings:
        print(f"audit: {finding}")
    print(f"audit: {len(findings)} known vulnerabilities in what is locked")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

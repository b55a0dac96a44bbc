"""Writes the reference pages that come from the code: settings, training options and the states of a job.

``python scripts/reference.py`` writes them, ``--check`` says whether they are up to date (exit status 1: they are not).
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.domain.jobs import ENDED, TRANSITIONS, JobStatus
from core.domain.training_options import TrainingConfig
from core.settings import ENVIRONMENT_PREFIX, Settings

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_MADE = "<!-- Written by `make reference` from the code: change it there. -->\n"
_OF_SETTINGS = """\
Every setting of the API, the workers and the scheduler is a variable of the environment. The client reads `LENET_URL`
and `LENET_API_KEY`; tests and benchmarks read `LENET_TEST_DATA`, a folder of real images, and tests
`LENET_TEST_POSTGRES_URL`, a server that they may fill instead of starting one.
"""


def settings_page() -> str:
    """Return the page of every variable of the environment."""
    schema = Settings.model_json_schema()["properties"]
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "the cores" if field.default_factory else _code(field.default)
        rows.append(f"| `{ENVIRONMENT_PREFIX}{name.upper()}` | {default} | {schema[name]['description']} |")
    return f"# Settings\n\n{_MADE}\n{_OF_SETTINGS}\n" + "\n".join(rows) + "\n"


def config_page() -> str:
    """Return the page of every training option."""
    schema = TrainingConfig.model_json_schema()
    rows = ["| option | type | what it is |", "| --- | --- | --- |"]
    rows += [
        f"| `{name}` | {_type(option, schema.get('$defs', {}))} | {option.get('description', '')} |"
        for name, option in schema["properties"].items()
    ]
    text = (
        "The `config` of a job. Every option may be left out; what a job ends up with is stored in it. "
        "The exact schema is served at `/api/v1/schemas/training-config`."
    )
    return f"# Training options\n\n{_MADE}\n{text}\n\n" + "\n".join(rows) + "\n"


def states_page() -> str:
    """Return the page of a job's states."""
    rows = ["| from | to |", "| --- | --- |"]
    for status in JobStatus:
        after = ", ".join(f"`{one}`" for one in JobStatus if one in TRANSITIONS[status]) or "–"
        rows.append(f"| `{status}`{' (ended)' if status in ENDED else ''} | {after} |")
    return f"# States of a job\n\n{_MADE}\nNo transition exists but these.\n\n" + "\n".join(rows) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "training-options.md": config_page,
    "job-states.md": states_page,
}


def _code(value: Any) -> str:
    return "unset" if value in (None, ()) else f"`{value}`"


def _type(option: dict[str, Any], definitions: dict[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_types(option, definitions))).replace("|", "\\|") or "any"


def _types(option: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    if "$ref" in option:
        yield from _types(definitions[option["$ref"].rsplit("/", 1)[1]], definitions)
    elif "enum" in option:
        yield ", ".join(f"`{value}`" for value in option["enum"])
    elif "const" in option:
        yield f"`{option['const']}`"
    elif "anyOf" in option or "oneOf" in option:
        for one in option.get("anyOf", []) + option.get("oneOf", []):
            yield from _types(one, definitions)
    elif option.get("type") == "object" and "properties" in option:
        yield "{" + ", ".join(f"`{name}`" for name in option["properties"]) + "}"
    elif "type" in option:
        yield _bounded(option)


def _bounded(option: dict[str, Any]) -> str:
    low, high = option.get("minimum"), option.get("maximum")
    if option["type"] == "integer":  # "below 2147483648" is "at most 2147483647"
        low = option["exclusiveMinimum"] + 1 if "exclusiveMinimum" in option else low
        high = option["exclusiveMaximum"] - 1 if "exclusiveMaximum" in option else high
    else:
        low = f"over {option['exclusiveMinimum']}" if "exclusiveMinimum" in option else low
        high = f"below {option['exclusiveMaximum']}" if "exclusiveMaximum" in option else high
    return f"{option['type']} {low}–{high}" if low is not None and high is not None else str(option["type"])


def main() -> int:
    """Write or check every page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is out of date")
    check = parser.parse_args().check
    stale = [name for name, page in PAGES.items() if not _is_current(FOLDER / name, page())]
    if check:
        for name in stale:
            print(f"docs/reference/{name} is out of date: run `make reference`.")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


def _is_current(path: Path, page: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == page


if __name__ == "__main__":
    sys.exit(main())

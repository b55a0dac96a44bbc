"""Every operation of openapi.json, explored by schemathesis with every check on, by keys of each scope.

What follows from the document alone is sent whole, however long it takes; what is made up, for seconds with each key.
``make explore SECONDS=600`` goes on for longer; its seed is drawn anew and said.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.processes import until
from chaos.squares import JOB
from security.estate import Fortress
from security.visitors import Visitor

SECONDS = int(os.environ.get("EXPLORE_SECONDS", "10"))
SEED = os.environ.get("EXPLORE_SEED", "1")
_ROOT = Path(__file__).parents[2]
_SETTINGS = Path(__file__).with_name("schemathesis.toml")
_BUSY_SECONDS = 240
_FEWEST_CASES = {"read": 400, "train": 400, "admin": 400}

pytestmark = pytest.mark.timeout(600 + 4 * SECONDS)


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory, squares: Path) -> Iterator[dict[str, Any]]:
    """Return what is explored: a platform of its own, since explorers with a key may delete whatever they find."""
    # Explorers send requests without a key, or with one that is none, all the time.
    with Fortress(tmp_path_factory.mktemp("explored"), settings={"BAD_KEYS_PER_MINUTE": 0}) as fortress:
        first = Visitor(fortress.root, fortress.first_key)
        keys = {scope: _make_key(first, scope) for scope in _FEWEST_CASES}
        owner = Visitor(fortress.root, keys["train"]["secret"])
        fortress.start_worker(wait=True)
        yield {"fortress": fortress, "keys": keys, "ids": _make_things(owner, squares), "first": first}
        first.close()
        owner.close()
        fortress.stop_workers()


def _make_key(first: Visitor, scope: str) -> dict[str, Any]:
    made = first.call("POST", "/keys", json={"name": scope, "scopes": [scope], "tenant": "explorers"})
    assert made.status_code == 201, made.text
    return made.json()


def _make_things(owner: Visitor, squares: Path) -> dict[str, str]:
    """Have the tenant own a dataset that is ready and a job that has succeeded."""
    zipped = {"Content-Type": "application/zip"}
    dataset_id = owner.call("POST", "/datasets", content=squares.read_bytes(), headers=zipped).json()["id"]
    until(lambda: owner.get(f"/datasets/{dataset_id}")["status"] == "ready", "the dataset is ready", _BUSY_SECONDS)
    body = {"dataset_id": dataset_id, "config": {**JOB, "epochs": 1}}
    job_id = owner.call("POST", "/jobs", json=body).json()["id"]
    until(lambda: owner.get(f"/jobs/{job_id}")["status"] == "succeeded", "the job has succeeded", _BUSY_SECONDS)
    return {"dataset_id": dataset_id, "job_id": job_id, "name": "history.csv"}


@pytest.mark.parametrize("scope", _FEWEST_CASES)
def test_nothing_that_the_document_allows_or_forbids_ends_badly(
    explored: dict[str, Any], scope: str, tmp_path: Path
) -> None:
    _check_reach(_explore(explored, scope, tmp_path, "--phases", "examples,coverage"), scope)
    _explore(explored, scope, tmp_path, "--phases", "fuzzing,stateful", "--max-time", str(SECONDS))
    assert " status=500 " not in explored["fortress"].logs()


def _explore(explored: dict[str, Any], scope: str, folder: Path, *options: str) -> dict[str, Any]:
    report = folder / "report.json"
    command = [
        *(Path(sys.executable).with_name("schemathesis"), "--config-file", _SETTINGS, "run"),
        f"{explored['fortress'].root}/openapi.json",
        *("--header", f"Authorization: Bearer {explored['keys'][scope]['secret']}"),
        *("--max-examples", "25", "--seed", SEED, "--no-color", *options),
        *("--report", "json", "--report-json-path", report),
    ]
    first = next(key["id"] for key in explored["first"].items("/keys") if key["name"] == "first")
    told = {
        "EXPLORED_IDS": json.dumps(explored["ids"]),
        "EXPLORED_KEYS": json.dumps([first, *(key["id"] for key in explored["keys"].values())]),
        "PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests'}",
        # Its own warnings, of names in the document that it would have chosen otherwise, are no errors of ours.
        "PYTHONWARNINGS": "ignore",
    }
    ended = subprocess.run(command, env={**os.environ, **told}, cwd=folder, capture_output=True, text=True, check=False)
    print(ended.stdout[-2000:])
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2000:]
    read: dict[str, Any] = json.loads(report.read_text())
    return read


def _check_reach(report: dict[str, Any], scope: str) -> None:
    """Fail where the exploration was none: operations left out, hardly a request sent, or every one refused."""
    operations, cases = report["operations"], report["test_cases"]
    assert operations["tested"] == operations["total"] > 30, operations
    assert cases["generated"] >= _FEWEST_CASES[scope], cases
    assert not report["failures"], report["failures"]
    assert not report["errors"], report["errors"]

"""Takes each safeguard out of a copy of the tree, one at a time, and sees that the tests named for it fail.

``python scripts/mutations.py`` tries all and writes ``docs/reference/mutations.md``; ``python scripts/mutations.py
fence`` tries those whose name has the word, and writes nothing. Exit status 1: a test passed without its safeguard.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "mutations.md"
_PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header")
_MOST_TOLD = 4000
_INTRODUCTION = """# What happens without each safeguard

<!-- Written by `make mutations`: change scripts/mutations.py. -->

Each safeguard is taken out of a copy of the tree, alone, and the tests named for it must fail: a test that cannot fail
proves nothing. With all safeguards in place the same tests pass, which is tried first.

| taken out | where | tests that fail | seconds |
| --- | --- | --- | ---: |
"""


@dataclass(frozen=True)
class Mutation:
    """A safeguard, how to take it out of ``file``, and the tests of which each must fail without it."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "the fence of every write",
        "core/services/claims.py",
        ", _is_ours(claim))\n        .where(JobRow.attempt == claim.attempt)\n",
        ")\n",
        (
            "tests/contract/test_job_services.py::test_every_write_of_an_older_attempt_is_refused",
            "tests/chaos/test_fencing.py::test_a_worker_that_never_doubts_its_lease_is_refused_by_the_fence",
        ),
    ),
    Mutation(
        "the fence of every change of a status",
        "core/services/transitions.py",
        "    if fence is not None:\n        statement = statement.where(JobRow.attempt == fence)\n",
        "",
        ("tests/contract/test_job_services.py::test_every_write_of_an_older_attempt_is_refused",),
    ),
    Mutation(
        "the fence of a dataset's and an evaluation's writes",
        "core/services/fences.py",
        "            row.attempt == hold.attempt,\n",
        "",
        (
            "tests/contract/test_model_services.py::test_a_lost_evaluation_goes_to_who_asks_next_and_the_first_attempt_can_write_nothing",
            "tests/contract/test_job_services.py::test_a_dataset_is_read_by_one_worker_and_taken_from_a_lost_one",
        ),
    ),
    Mutation(
        "the worker's name beside that fence",
        "core/services/fences.py",
        "            row.worker == hold.worker,\n",
        "",
        (
            "tests/contract/test_model_services.py::test_an_attempt_at_an_evaluation_that_the_database_has_forgotten_and_given_again_is_refused",
            "tests/contract/test_job_services.py::test_a_reading_that_the_database_has_forgotten_and_given_again_is_refused",
        ),
    ),
    Mutation(
        "the look whether a connection is over",
        "core/db/engine.py",
        "    if connection.is_over():\n",
        "    if False:\n",
        ("tests/contract/test_engine.py::test_sessions_that_the_server_has_ended_fail_nobody",),
    ),
    Mutation(
        "the refusal of what comes after a gap between epochs",
        "core/services/progress.py",
        "if session.scalar(earlier) != before - 1:",
        "if False:",
        (
            "tests/contract/test_job_services.py::test_what_comes_after_a_gap_between_epochs_is_refused",
            "tests/chaos/test_postgres.py::test_a_database_that_is_set_back_loses_only_what_has_happened_since",
        ),
    ),
    Mutation(
        "the sweeper that takes a job from a lost worker",
        "core/services/sweeper.py",
        "return [job_id for job_id, attempt in expired if _reap(session, job_id, attempt, now)]",
        "return []",
        (
            "tests/contract/test_job_services.py::test_a_job_that_loses_its_worker_too_often_fails_with_the_reason",
            "tests/chaos/test_kills.py::test_a_killed_worker_takes_its_trainer_with_it",
        ),
    ),
    Mutation(
        "the sweeper that sends lost messages again",
        "core/services/sweeper.py",
        "return _beyond_depth(waiting, sender)",
        "return []",
        (
            "tests/contract/test_job_services.py::test_the_sweeper_sends_no_more_than_what_is_missing",
            "tests/chaos/test_kills.py::test_a_message_that_a_worker_took_with_it_is_sent_again_though_redis_has_no_copy",
        ),
    ),
    Mutation(
        "the hash check of what is read from the store",
        "core/storage/bodies.py",
        'if sha256 is not None and body.stored_as("").sha256 != sha256:',
        "if False:",
        (
            "tests/contract/test_object_store.py::test_fetch_of_bytes_with_another_hash_leaves_nothing",
            "tests/chaos/test_checkpoints.py::test_a_damaged_checkpoint_is_passed_over_for_the_one_before",
        ),
    ),
    Mutation(
        "the hash check within a checkpoint",
        "core/training/checkpoints.py",
        "if not data.startswith(_MARK) or hashlib.sha256(payload).digest() != digest:",
        "if not data.startswith(_MARK):",
        ("tests/unit/core/training/test_checkpoints.py",),
    ),
    Mutation(
        "the fsync of an object",
        "core/storage/bodies.py",
        "        os.fsync(file.fileno())\n",
        "",
        ("tests/unit/core/storage/test_folder.py",),
    ),
    Mutation(
        "the fsync of an object's name",
        "core/storage/bodies.py",
        "        os.fsync(descriptor)\n",
        "        pass\n",
        ("tests/unit/core/storage/test_folder.py",),
    ),
    Mutation(
        "the fsync of a checkpoint",
        "core/training/checkpoints.py",
        "        os.fsync(file.fileno())\n",
        "",
        ("tests/unit/core/training/test_checkpoints.py",),
    ),
    Mutation(
        "the lease's own deadline",
        "worker/lease.py",
        "return self._renewed_at + self._trusted_seconds - time.monotonic()",
        "return self._trusted_seconds",
        (
            "tests/unit/worker/test_lease.py::test_a_lease_whose_renewal_hangs_is_given_up_by_its_own_clock",
            "tests/unit/worker/test_lease.py::test_what_a_lease_was_held_for_is_ended_by_the_clock_though_the_renewal_hangs",
        ),
    ),
    Mutation(
        "the cap on an image's pixels",
        "core/datasets/images.py",
        "if size[0] * size[1] > max_pixels or max(size) > MAX_SIDE:",
        "if False:",
        ("tests/unit/datasets/test_images.py",),
    ),
    Mutation(
        "the cap on an image's frames",
        "core/datasets/image_structure.py",
        "if frames > MAX_FRAMES:",
        "if False:",
        ("tests/unit/datasets/test_image_structure.py",),
    ),
    Mutation(
        "the files that a decoder cannot open",
        "core/sandbox/confinement.py",
        '        ("few files", lambda: _limit_files(reach)),\n',
        "",
        ("tests/unit/core/sandbox/test_confinement.py",),
    ),
    Mutation(
        "the calls that a decoder cannot make",
        "core/sandbox/confinement.py",
        '        ("few system calls", system_calls.refuse_ways_out),\n',
        "",
        ("tests/unit/core/sandbox/test_confinement.py",),
    ),
    Mutation(
        "the end of a decoder that is late",
        "core/inference/decoders.py",
        "        self._socket.settimeout(left)\n",
        "        self._socket.settimeout(60)\n",
        ("tests/unit/core/inference/test_decoders.py",),
    ),
    Mutation(
        "the end of a rejected archive",
        "worker/datasets.py",
        "        self._discard()\n",
        "",
        ("tests/unit/worker/test_datasets.py::test_a_rejected_dataset_leaves_its_row_and_nothing_else",),
    ),
    Mutation(
        "the end of checkpoints that were passed over",
        "core/services/claims.py",
        "CheckpointRow.key.in_(passed_over)",
        "CheckpointRow.key.in_([])",
        ("tests/contract/test_job_services.py::test_checkpoints_that_were_passed_over_outlast_none_that_come_after",),
    ),
    Mutation(
        "the epoch's end that a stop waits for",
        "core/training/trainer.py",
        "                self._is_to_stop = True\n",
        "                self._is_to_stop, self.state.stop_reason = True, StopReason.STOPPED\n",
        ("tests/unit/core/training/test_trainer.py::test_a_stop_that_a_pause_overtakes_is_forgotten",),
    ),
    Mutation(
        "the second look at garbage",
        "core/services/collection.py",
        "            if store.stat(key).modified_at < before:\n",
        "            if store.stat(key):\n",
        ("tests/contract/test_job_services.py::test_what_was_written_anew_since_the_store_was_listed_is_no_garbage",),
    ),
    Mutation(
        "the moment from which a worker trusts its lease",
        "worker/lease.py",
        "        self._renewed_at = claimed_at\n",
        "        self._renewed_at = time.monotonic()\n",
        ("tests/unit/worker/test_lease.py::test_what_held_up_the_claim_s_answer_counts",),
    ),
    Mutation(
        "the passing over of locked rows",
        "core/services/sweeper.py",
        "two sweepers must not cross.\n        .with_for_update(skip_locked=True)\n",
        "two sweepers must not cross.\n",
        ("tests/contract/test_sweeping.py::test_a_row_that_is_held_keeps_no_other_from_the_sweeper_and_is_next",),
    ),
    Mutation(
        "the end of a transaction that stands still, with the lease",
        "core/db/wiring.py",
        "min(IDLE_SECONDS, settings.lease_seconds)",
        "IDLE_SECONDS",
        (
            "tests/contract/test_engine.py::test_no_transaction_stands_still_for_longer_than_a_lease",
            (
                "tests/chaos/test_several_hosts.py"
                "::test_what_a_host_had_locked_as_it_was_cut_off_keeps_nothing_from_the_others"
            ),
        ),
    ),
    Mutation(
        "the end of a trainer that stands still",
        "worker/following.py",
        "if self._silence.seconds > self._silence.longest(self.stall_seconds):",
        "if False:",
        (
            "tests/unit/worker/test_jobs.py::test_a_trainer_that_stands_still_is_killed",
            "tests/unit/worker/test_jobs.py::test_a_result_counts_though_its_trainer_does_not_end",
        ),
    ),
    Mutation(
        "the look at what the user asks for",
        "worker/following.py",
        "            wishes = self.writer.read_wishes()\n",
        "            wishes = None\n",
        ("tests/unit/worker/test_jobs.py::test_what_the_user_asks_for_does_not_wait_for_a_trainer_that_says_nothing",),
    ),
    Mutation(
        "the end of whoever waits as the worker stops",
        "worker/job_writer.py",
        "        if self._closing.is_set():\n",
        "        if False:\n",
        ("tests/unit/worker/test_jobs.py::test_a_worker_that_closes_before_the_training_begins_gives_the_job_back",),
    ),
    Mutation(
        "the comparison of a cached pack with its digest",
        "core/datasets/cache.py",
        "if digest_of(path) != digest:",
        "if False:",
        (
            "tests/unit/datasets/test_cache.py::test_a_pack_that_the_disk_has_spoilt_is_fetched_anew",
            "tests/unit/datasets/test_cache.py::test_a_pack_that_was_spoilt_before_this_process_began_is_fetched_anew",
        ),
    ),
    Mutation(
        "the hash of a local archive",
        "worker/datasets.py",
        "    if digest_of(local) != sha256:\n",
        "    if not digest_of(local):\n",
        ("tests/unit/worker/test_datasets.py::test_an_archive_that_has_changed_in_the_store_is_not_read",),
    ),
)


def main() -> int:
    """Try the mutations that the command line names and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="those whose name has one of the words; else all")
    words = parser.parse_args().words
    chosen = [one for one in MUTATIONS if not words or any(word in one.name for word in words)]
    tests = list(dict.fromkeys(test for one in chosen for test in one.tests))
    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        tree = copy_tree(Path(name) / "tree")
        print(f"all safeguards in place: {len(tests)} tests or files of tests", flush=True)
        if told := find_failure(tree, *tests):
            print(f"one fails already, so that it proves nothing:\n{told}", file=sys.stderr)
            return 1
        rows = [try_out(tree, one) for one in chosen]
    green = [row for row in rows if row is None]
    if not words and not green:
        PAGE.write_text(_INTRODUCTION + "\n".join(row for row in rows if row) + "\n", encoding="utf-8")
    return 1 if green else 0


def copy_tree(target: Path) -> Path:
    """Copy the files that git knows or would add, as they are now, and return the copy."""
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def try_out(tree: Path, mutation: Mutation) -> str | None:
    """Return the table's row of a mutation, or ``None`` where a test passed all the same."""
    start = time.monotonic()
    with applied(tree, mutation):
        green = [test for test in mutation.tests if not find_failure(tree, test)]
    seconds = time.monotonic() - start
    verdict = f"GREEN without it: {', '.join(green)}" if green else "red, as it must be"
    print(f"{mutation.name}: {verdict} ({seconds:.0f} s)", flush=True)
    tests = "<br>".join(f"`{test}`" for test in mutation.tests)
    return None if green else f"| {mutation.name} | `{mutation.file}` | {tests} | {seconds:.0f} |"


@contextmanager
def applied(tree: Path, mutation: Mutation) -> Iterator[None]:
    """Take a safeguard out for the length of the block.

    Raises:
        ValueError: Its text is not there exactly once: the mutation is older than the code.
    """
    path = tree / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.before) != 1:
        raise ValueError(f"{mutation.name}: its text is {text.count(mutation.before)} times in {mutation.file}")
    path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def find_failure(tree: Path, *tests: str) -> str:
    """Return what the first test that fails in a tree says; nothing where all pass.

    Raises:
        RuntimeError: They did not run: what cannot be collected is no failure.
    """
    done = _run(tree, (*_PYTEST, "-x", *tests))
    told = (done.stdout + done.stderr)[-_MOST_TOLD:]
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{', '.join(tests)} did not run:\n{told}")
    return told if done.returncode else ""


def _run(tree: Path, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    # Byte code of one size and second would be taken for that of the file that was just changed back.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=environment, check=False, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())

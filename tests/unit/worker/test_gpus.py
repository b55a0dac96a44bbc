import pytest

from worker.gpus import find_driver, why_no_gpu


def test_a_driver_shows_by_its_file(tmp_path):
    assert not find_driver(tmp_path / "version")
    (tmp_path / "version").write_text("NVRM version: 1")
    assert find_driver(tmp_path / "version")


def test_torch_that_sees_a_gpu_is_no_reason_against_it():
    assert why_no_gpu("") is None


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('torch sees none')", "torch sees none"),
        ("import sys; print('a warning', file=sys.stderr); raise ImportError('libcudnn')", "ImportError: libcudnn"),
        ("import sys; sys.exit(3)", "torch ended with code 3"),
    ],
    ids=["none", "broken", "silent"],
)
def test_what_torch_says_last_is_the_reason(program, reason):
    assert why_no_gpu(program) == reason


def test_torch_that_hangs_is_a_reason():
    assert why_no_gpu("import time; time.sleep(60)", timeout_seconds=0.2) == "torch did not answer within 0.2 s"


def test_the_supervisors_question_is_understood_by_the_torch_of_here():
    torch = pytest.importorskip("torch")
    assert why_no_gpu() == (None if torch.cuda.is_available() else "torch sees none")

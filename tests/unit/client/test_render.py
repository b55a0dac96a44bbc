import io
import json

import pytest
from rich.console import Console

from client import render
from client.types import Dataset, Epoch, Job, LogLine, Report, Worker
from client.watch import Board


def printed(view, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(view)
    return console.file.getvalue()


@pytest.fixture
def job(make_job):
    progress = {"epoch": 2, "epochs": 4, "fraction": 0.5, "images_per_second": 12345.6, "eta_seconds": 3}
    return Job.model_validate(make_job(progress=progress, metrics={"val_accuracy": 0.975}, worker="w1"))


def test_markup_and_escapes_of_a_name_are_shown_as_text(make_job):
    shown = printed(render.job_table([Job.model_validate(make_job(name="[red]a[/red]\x1b[31m"))]))
    assert "[red]a[/red]�[31m" in shown
    assert "\x1b" not in shown


def test_long_ids_are_not_cut(make_job):
    long = "job_" + "x" * 60
    shown = printed(render.job_table([Job.model_validate(make_job(name=None) | {"id": long})]), width=60)
    assert "".join(shown.split()).count("x") >= 60


def test_json_is_what_came_and_keeps_what_is_new(make_job):
    answer = make_job(novelty=[1])
    assert json.loads(render.to_json(Job.model_validate(answer))) == answer
    assert json.loads(render.to_json([])) == []


def test_a_job_shows_its_config_and_why_it_failed(make_job):
    answer = make_job("failed", error={"code": "diverged", "detail": "NaN."}, config={"dense": [120, 84]})
    shown = printed(render.job_view(Job.model_validate(answer)))
    assert "[120, 84]" in shown
    assert "error diverged: NaN." in shown


def test_a_dataset_shows_counts_warnings_and_faults():
    dataset = Dataset.model_validate(
        {
            "id": "ds_1",
            "status": "rejected",
            "classes": ["a", "b"],
            "counts": {"train": {"a": 7, "b": 8}, "validation": None, "test": {"a": 3}},
            "warnings": [{"code": "few_images", "detail": "Few.", "count": 2, "examples": ["a/1.png"]}],
            "error": {"code": "c", "detail": "d", "errors": [{"pointer": "b/2.png", "detail": "broken"}]},
        }
    )
    shown = printed(render.dataset_view(dataset))
    assert [line.split() for line in shown.splitlines() if line.startswith(("a ", "b "))] == [
        ["a", "7", "3"],
        ["b", "8", "0"],
    ]
    assert "few_images (2): Few. a/1.png" in shown
    assert "b/2.png: broken" in shown


def test_a_report_shows_the_confusion_matrix_and_mistakes():
    report = Report.model_validate(
        {
            "accuracy": 0.75,
            "classes": ["a", "b"],
            "confusion_matrix": [[3, 1], [0, 0]],
            "mistakes": [{"path": "test/a/9.png", "true": "a", "predicted": "b", "confidence": 0.99}],
        }
    )
    shown = printed(render.report_view(report))
    assert "75.00 %" in shown
    assert "test/a/9.png" in shown
    assert any(line.split() == ["a", "3", "1"] for line in shown.splitlines())


def test_a_report_shows_figures_of_all_images_and_labels_that_look_wrong():
    report = Report.model_validate(
        {
            "accuracy": 0.75,
            "averages": {"precision": 0.5, "recall": 0.6, "f1": 0.55},
            "top_accuracy": [{"k": 1, "accuracy": 0.75}, {"k": 3, "accuracy": 0.95}],
            "calibration_error": 0.03,
            "leaked_images": 1234,
            "accuracy_without_leaks": 0.7,
            "label_suspicions": [{"path": "test/a/1.png", "split": "test", "label": "a", "suggested": "b"}],
        }
    )
    shown = [line.split() for line in printed(render.report_view(report)).splitlines()]
    assert ["among", "the", "3", "most", "probable", "95.00", "%"] in shown
    assert ["without", "1,234", "leaked", "images", "70.00", "%"] in shown
    assert ["calibration", "error", "3.00", "%"] in shown
    assert ["test/a/1.png", "test", "a", "b", "–"] in shown


def test_a_report_that_knows_of_no_leaks_says_nothing_of_them():
    assert "leaked" not in printed(render.report_view(Report(accuracy=0.5, leaked_images=None)))


def test_a_report_without_test_images_is_shown_too():
    assert "–" in printed(render.report_view(Report(accuracy=None)))


def test_epochs_workers_and_logs_are_rows():
    assert "50.00 %" in printed(render.epoch_table([Epoch(epoch=1, val_accuracy=0.5)]))
    assert "job_1, job_2" in printed(render.worker_table([Worker(name="w", busy_jobs=["job_1", "job_2"])]))
    line = LogLine.model_validate({"id": 1, "at": "2026-01-01T00:00:00Z", "level": "info", "message": "epoch_ended"})
    assert "info epoch_ended" in printed(render.log_view([line]))


def test_what_is_no_terminal_gets_wide_lines_without_colours(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert render.open_console().width == render.WIDTH_WITHOUT_TERMINAL


def test_a_board_without_a_terminal_prints_only_milestones(job):
    console = Console(file=io.StringIO(), width=40)
    with Board(console) as board:
        board.update(job)
        board.update(job.model_copy(update={"progress": job.progress.model_copy(update={"fraction": 0.6})}))
        board.update(job.model_copy(update={"attempt": 2}))
    assert console.file.getvalue().splitlines() == [
        "first  running  epoch 2/4  validation accuracy 97.50 %  3.0 s left",
        "first  running  epoch 2/4  validation accuracy 97.50 %  3.0 s left",
    ]


def test_a_board_on_a_terminal_draws_one_table_of_all_jobs(job):
    console = Console(file=io.StringIO(), width=150, force_terminal=True)
    with Board(console) as board:
        board.update(job)
        board.update(job.model_copy(update={"id": "job_2", "name": "second"}))
    shown = console.file.getvalue()
    assert "12,346" in shown
    assert "second" in shown


def test_a_job_that_succeeded_has_a_whole_bar(make_job):
    assert render.fraction_done(Job.model_validate(make_job("succeeded"))) == 1.0
    assert render.fraction_done(Job.model_validate(make_job("queued"))) == 0.0


def test_a_progress_table_fits_a_small_terminal_with_a_bar_that_can_be_read(job):
    named = job.model_copy(update={"name": "lenet-wide", "status": "succeeded"})
    head, row = printed(render.progress_table([named]), width=80).splitlines()
    assert head.endswith("left")
    assert row.startswith("lenet-wide  succeeded")
    assert row.count("━") >= 8


def test_a_speed_is_shown_only_while_a_job_runs(job):
    ended = job.model_copy(update={"status": "succeeded"})
    assert "12,346" in printed(render.progress_table([job]))
    assert "12,346" not in printed(render.progress_table([ended]))

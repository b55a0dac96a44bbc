import io
import subprocess
import sys
import threading

import pytest
from PIL import Image

from api.pictures import Pictures
from core.domain.plots import PLOTS
from core.errors import TooManyRequestsError, UnavailableError

JOBS = "/api/v1/jobs"
EPOCH = {
    "epoch": 1,
    "train_loss": 0.5,
    "train_accuracy": 0.8,
    "val_loss": None,
    "val_accuracy": None,
    "learning_rate": 0.1,
}


@pytest.fixture
def job_id(platform):
    return platform.make_succeeded_job({f"{name}.png": ("image/png", name.encode()) for name in PLOTS})


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_shown_under_its_name(client, job_id, name):
    response = client.get(f"{JOBS}/{job_id}/plots/{name}.png")
    assert (response.status_code, response.data, response.content_type) == (200, name.encode(), "image/png")
    assert response.headers["Content-Disposition"] == f"inline; filename={name}.png"
    assert client.get(response.request.path, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_a_plot_is_an_artifact_too(client, job_id):
    response = client.get(f"{JOBS}/{job_id}/artifacts/history.png")
    assert response.headers["Content-Disposition"] == "attachment; filename=history.png"


@pytest.mark.parametrize("path", ["loss.png", "history", "history.svg", "..%2fhistory.png", "history.png/x"])
def test_another_name_is_no_plot(client, job_id, path):
    assert client.get(f"{JOBS}/{job_id}/plots/{path}").status_code == 404


@pytest.mark.parametrize("name", [name for name in PLOTS if name != "history"])
def test_plots_of_a_job_that_has_not_succeeded_are_409(client, platform, name):
    response = client.get(f"{JOBS}/{platform.make_job()}/plots/{name}.png")
    assert (response.status_code, response.get_json()["code"]) == (409, "job_not_succeeded")


def test_plots_of_another_tenants_job_are_404(client, platform):
    other = platform.make_job(tenant_id=platform.make_tenant("other"))
    for name in PLOTS:
        assert client.get(f"{JOBS}/{other}/plots/{name}.png").status_code == 404


def test_the_history_of_a_running_job_is_drawn_anew_with_each_epoch(client, platform):
    job_id = platform.make_job()
    url = f"{JOBS}/{job_id}/plots/history.png"
    queued = client.get(url)
    claim = platform.claim()
    platform.add_epoch(claim, 1)
    first = client.get(url)
    assert Image.open(io.BytesIO(first.data)).size == Image.open(io.BytesIO(queued.data)).size == (900, 600)
    assert first.data != queued.data
    assert first.headers["Content-Disposition"] == "inline; filename=history.png"
    unchanged = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    other = client.get(url, headers={"If-Match": '"another"'})
    assert (other.status_code, other.get_json()["code"]) == (412, "precondition_failed")
    platform.add_epoch(claim, 2)
    assert client.get(url, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_a_drawing_that_fails_is_503(platform, make_client):
    client = make_client(pictures=Pictures(command=(sys.executable, "-c", "raise SystemExit(1)")))
    response = client.get(f"{JOBS}/{platform.make_job()}/plots/history.png")
    assert (response.status_code, response.get_json()["code"]) == (503, "unavailable")
    assert "Retry-After" in response.headers


COUNT = "import sys; open(sys.argv[1], 'a').write('x'); sys.stdout.write('drawn')"


def test_the_same_picture_is_drawn_once(tmp_path):
    pictures = Pictures(command=(sys.executable, "-c", COUNT, str(tmp_path / "count")))
    assert [pictures.draw_history([EPOCH], title="a") for _ in range(3)] == [b"drawn"] * 3
    pictures.draw_history([EPOCH], title="b")
    assert (tmp_path / "count").read_text() == "xx"


def test_a_drawing_that_failed_is_tried_again(tmp_path):
    program = "import os, sys; sys.exit(0 if os.path.exists(sys.argv[1]) else open(sys.argv[1], 'w').close() or 1)"
    pictures = Pictures(command=(sys.executable, "-c", program, str(tmp_path / "mark")))
    with pytest.raises(UnavailableError):
        pictures.draw_history([EPOCH], title="a")
    assert pictures.draw_history([EPOCH], title="a") == b""


def test_a_drawing_that_hangs_is_given_up():
    pictures = Pictures(draw_seconds=0.2, command=(sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(UnavailableError):
        pictures.draw_history([EPOCH], title="a")


def test_only_so_many_are_drawn_at_once(tmp_path):
    program = (
        "import os, sys, time\n"
        "open(sys.argv[1], 'w').close()\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
    )
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    pictures = Pictures(wait_seconds=0.05, command=(sys.executable, "-c", program, str(begun), str(go_on)))
    thread = threading.Thread(target=pictures.draw_history, args=([EPOCH],), kwargs={"title": "a"})
    thread.start()
    while not begun.exists():
        thread.join(0.01)
    with pytest.raises(TooManyRequestsError):
        pictures.draw_history([EPOCH], title="b")
    go_on.touch()
    thread.join()
    assert pictures.draw_history([EPOCH], title="b") == b""


def test_whoever_draws_is_told_no_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("LENET_API_KEY", "a-secret-of-the-platform")
    program = "import os, sys; sys.stdout.write(repr(dict(os.environ)))"
    told = Pictures(tmp_path / "fonts", command=(sys.executable, "-c", program)).draw_history([], title="a").decode()
    assert "a-secret-of-the-platform" not in told
    assert f"'MPLCONFIGDIR': '{tmp_path / 'fonts'}'" in told


def test_the_api_loads_no_drawing_library():
    program = "import sys, api.wiring; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path, setup):
    for name in setup.INPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def commands(setup, monkeypatch):
    """Record what would run, in place of running it; an environment that is made gets its interpreter."""
    commands = []

    def record(command, **_):
        commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            python = Path(command[3]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()

    monkeypatch.setattr(setup, "run", record)
    monkeypatch.setattr(setup, "pip_settings", lambda _: {})
    monkeypatch.setattr(setup.shutil, "which", lambda _: None)
    return commands


@pytest.fixture
def bring_up(setup, root):
    (root / setup.VENV_NAME).mkdir()
    return lambda home="here", digest="first": setup.bring_up_to_date(root, home, digest, with_driver=False)


def test_an_old_python_gets_a_sentence(setup):
    with pytest.raises(setup.SetUpError, match=r"Python 3\.11 or newer is needed, and this is 3\.9"):
        setup.check_python((3, 9))


@pytest.mark.parametrize("version", [(3, 11), (3, 14)])
def test_a_new_python_passes(setup, version):
    setup.check_python(version)


def test_the_script_is_readable_to_an_old_python():
    source = (Path(__file__).parents[3] / "scripts" / "setup.py").read_text()
    ast.parse(source, feature_version=(3, 8))


def test_a_driver_is_seen_by_its_file_or_its_program(setup, tmp_path):
    there, none = tmp_path / "version", tmp_path / "none"
    there.touch()
    assert setup.has_nvidia_driver(there, "no-such-program")
    assert setup.has_nvidia_driver(none, sys.executable)
    assert not setup.has_nvidia_driver(none, "no-such-program")


def test_without_a_driver_the_pins_of_the_small_torch_hold_too(setup):
    assert setup.requirements(with_driver=True).count("--constraint") == 1
    assert "constraints-cpu.txt" not in setup.requirements(with_driver=True)
    assert {"constraints.txt", "constraints-cpu.txt"} <= set(setup.requirements(with_driver=False))


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "constraints-cpu.txt", "locks/dev.txt"])
def test_a_changed_file_changes_the_fingerprint(setup, root, name):
    before = setup.fingerprint(root, with_driver=False)
    (root / name).write_text("changed")
    assert setup.fingerprint(root, with_driver=False) != before


def test_a_driver_that_came_changes_the_fingerprint(setup, root):
    assert setup.fingerprint(root, with_driver=False) != setup.fingerprint(root, with_driver=True)


def test_the_second_time_nothing_is_installed(bring_up, commands):
    bring_up()
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]
    commands.clear()
    bring_up()
    assert commands == []


def test_changed_pins_install_into_the_same_environment(bring_up, commands):
    bring_up()
    commands.clear()
    bring_up(digest="second")
    assert [command[2] for command in commands] == ["pip", "pip"]


def test_another_place_or_python_makes_the_environment_anew(bring_up, commands, root):
    bring_up()
    stale = root / ".venv" / "lib" / "stale"
    stale.mkdir(parents=True)
    commands.clear()
    bring_up(home="elsewhere")
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]
    assert not stale.exists()


def test_an_installation_that_was_cut_short_is_done_again(bring_up, commands, setup, monkeypatch):
    def cut_short(command, **_):
        raise subprocess.CalledProcessError(1, command)

    with monkeypatch.context() as broken:
        bring_up()
        broken.setattr(setup, "run", cut_short)
        with pytest.raises(subprocess.CalledProcessError):
            bring_up(digest="second")
    commands.clear()
    bring_up(digest="first")
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]


def test_an_active_environment_is_the_same_python(setup, monkeypatch, tmp_path):
    inside = tmp_path / "python"
    inside.symlink_to(sys.executable)
    outside = setup.environment_home()
    monkeypatch.setattr(setup.sys, "executable", str(inside))
    assert setup.environment_home() == outside


def test_a_python_that_is_gone_makes_the_environment_anew(bring_up, commands, root):
    bring_up()
    (root / ".venv" / "bin" / "python").unlink()
    commands.clear()
    bring_up()
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]


def test_a_python_that_makes_no_environments_gets_a_sentence(setup, root, monkeypatch):
    def refuse(command, **_):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(setup, "run", refuse)
    with pytest.raises(setup.SetUpError, match="python3-venv"):
        setup.make_environment(root, anew=False)


def test_pip_s_settings_are_read_from_files_and_variables(setup):
    listing = ":env:.find-links='/wheels'\nglobal.find-links='\\n/more\\n/wheels'\nglobal.timeout='60'\n"
    assert setup.read_pip_settings(listing) == {"find-links": ["/wheels", "/more", "/wheels"], "timeout": ["60"]}


def test_uv_is_told_of_pip_s_folders_of_wheels(setup, monkeypatch):
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    assert setup.uv_variables({"find-links": ["/wheels", "/more", "/wheels"]}) == {"UV_FIND_LINKS": "/wheels,/more"}
    assert setup.uv_variables({}) == {}


def test_uv_s_own_setting_is_left_as_it_is(setup, monkeypatch):
    monkeypatch.setenv("UV_FIND_LINKS", "/mine")
    assert setup.uv_variables({"find-links": ["/wheels"]}) == {}


@pytest.mark.parametrize("name", ["index-url", "extra-index-url", "no-index"])
def test_an_index_that_only_pip_knows_of_rules_uv_out(setup, name):
    assert not setup.uv_can_follow({name: ["somewhere"]})
    assert setup.uv_can_follow({"find-links": ["/wheels"]})


@pytest.mark.parametrize(
    ("settings", "installer"), [({}, "/bin/uv pip"), ({"index-url": ["somewhere"]}, "python -m pip")]
)
def test_uv_installs_where_it_finds_what_pip_finds(commands, setup, monkeypatch, settings, installer):
    monkeypatch.setattr(setup.shutil, "which", lambda _: "/bin/uv")
    monkeypatch.setattr(setup, "pip_settings", lambda _: settings)
    setup.install(Path(), Path("python"), with_driver=False)
    assert " ".join(commands[0]).startswith(f"{installer} install")


def test_what_is_locked_comes_first_and_by_its_hashes_alone(bring_up, commands):
    bring_up()
    _, locked, rest = (" ".join(command) for command in commands)
    assert locked.endswith("--require-hashes --no-deps --requirement locks/dev.txt")
    assert "--no-build-isolation" in rest
    assert rest.endswith("--editable .[dev]")


def test_a_lock_leaves_out_what_differs_by_machine(lock):
    alembic, cuda, six = (
        "alembic==1 \\\n    --hash=a\n",
        "nvidia-nccl-cu13==2 ; x == 'y' \\\n    --hash=b\n",
        "six==1\n",
    )
    assert lock.without_machine(alembic + cuda + six) == alembic + six


def read_lock(extra):
    """Return the versions of a lock, and fail where one has no hash."""
    text = (Path(__file__).parents[3] / "locks" / f"{extra}.txt").read_text()
    blocks = [block for block in re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE) if not block.startswith("#")]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    return {
        name.lower(): version for name, version in (re.match(r"([\w.-]+)==(\S+)", block).groups() for block in blocks)
    }


@pytest.mark.parametrize("extra", ["dev", "api", "worker"])
def test_the_locks_have_the_pinned_versions_and_no_address(extra):
    lines = (Path(__file__).parents[3] / "constraints.txt").read_text().splitlines()
    pins = dict(re.sub(r"[._](?=.*==)", "-", line.lower()).split("==") for line in lines if not line.startswith("#"))
    locked = read_lock(extra)
    assert "setuptools" in locked
    assert {name: pins.get(name, version) for name, version in locked.items()} == locked
    assert "://" not in (Path(__file__).parents[3] / "locks" / f"{extra}.txt").read_text()
    if extra == "dev":
        assert pins.keys() <= locked.keys(), "run `make lock`"


def test_the_lock_holds_plain_pins_without_addresses_or_what_differs_by_machine(lock):
    frozen = (
        "zope==1.0\nFlask==3.1\ntorch==2.13.0+cpu\nnvidia-cudnn-cu12==9\ntriton==3\n"
        "-e git+https://somewhere#egg=lenet-platform\nlocal @ file:///somewhere\n"
    )
    assert lock.pins(frozen) == ["Flask==3.1", "zope==1.0"]


def test_the_committed_pins_are_plain():
    lines = (Path(__file__).parents[3] / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert all(line.count("==") == 1 and "/" not in line and "+" not in line for line in pins)
    assert not [line for line in pins if line.startswith(("torch==", "torchvision=="))]

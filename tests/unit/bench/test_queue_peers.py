import subprocess

import pytest
from packaging.requirements import Requirement

from bench.peers.queues import packages


@pytest.fixture
def installed(monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    return commands


def test_every_peer_is_held_to_a_range():
    for text in packages.read_group():
        assert {each.operator for each in Requirement(text).specifier} == {">=", "<"}, text


def test_the_peers_are_installed_once_and_beside_the_environment(tmp_path, installed):
    (tmp_path / packages_folder(tmp_path).name).mkdir()
    folder = packages.install_peers(tmp_path)
    assert packages.install_peers(tmp_path) == folder

    assert len(installed) == 1
    assert installed[0][installed[0].index("--target") + 1] == str(folder)
    assert folder.parent == tmp_path


def test_an_installation_that_failed_is_done_again(tmp_path, monkeypatch):
    calls = []

    def fail(command, **_):
        calls.append(command)
        packages_folder(tmp_path).mkdir(exist_ok=True)
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fail)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            packages.install_peers(tmp_path)
    assert len(calls) == 2


def packages_folder(home):
    return packages.find_folder(home, packages.read_group())

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.sandbox.confinement import bare_environment

ROOT = Path(__file__).parents[4]
NOBODY = 65534
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have bounds alone")

_PROGRAM = """
import ctypes, json, os, socket, sys, threading
from pathlib import Path
from core.sandbox.bounds import Bounds
from core.sandbox.confinement import Reach, confine
given = json.loads(sys.argv[1])
if given["account"]:
    os.setgid(given["account"])
    os.setuid(given["account"])
inherited = socket.socket(socket.AF_UNIX)
missing = confine(
    Bounds(memory_bytes=2**32, file_bytes=100_000, open_files=32, cpu_seconds=50),
    Reach(readable=(Path(given["readable"]),), writable=(Path(given["writable"]),)),
    parent=os.getppid(),
    may_fork=given["may_fork"],
)
def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
def read_memory_of_parent():
    data = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(data), 8)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(os.getppid(), ctypes.byref(local), 1, ctypes.byref(local), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "no")
def start_thread():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
TRIES = {
    "read": lambda: open(given["readable"]).read(),
    "write": lambda: open(given["writable"] + "/new", "w").write("x"),
    "delete": lambda: os.unlink(given["writable"] + "/new"),
    "load": lambda: __import__("colorsys"),
    "start a thread": start_thread,
    "discard": lambda: open("/dev/null", "w").write("x"),
    "read a secret": lambda: open(given["secret"]).read(),
    "write beside": lambda: open(given["secret"] + "-new", "w"),
    "list": lambda: os.listdir("/"),
    "read an environment": lambda: open(f"/proc/{os.getppid()}/environ").read(),
    "read the parent's memory": read_memory_of_parent,
    "open a socket": lambda: socket.socket(),
    "connect": lambda: inherited.connect(given["address"]),
    "signal": lambda: os.kill(os.getppid(), 0),
    "run": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
    "change rights": lambda: os.chmod(given["writable"], 0o777),
    "fork": fork,
}
done = {}
for name, attempt in TRIES.items():
    try:
        attempt()
        done[name] = "done"
    except (OSError, ImportError) as error:
        done[name] = type(error).__name__
print(json.dumps({"missing": missing, "done": done}), flush=True)
"""


@pytest.fixture
def server(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield str(tmp_path / "socket")


@pytest.fixture
def run_confined(tmp_path, server):
    """Return a function that confines a process, has it try everything, and tells what became of it."""
    secret, readable, writable = tmp_path / "secret", tmp_path / "readable", tmp_path / "writable"
    secret.write_text("key")
    readable.write_text("data")
    writable.mkdir()
    for path in (*tmp_path.parents, tmp_path, secret, readable, writable, tmp_path / "socket"):
        if path.is_relative_to(tmp_path.parents[2]):
            path.chmod(0o777)

    def run(*, account=0, may_fork=False):
        given = {"account": account, "may_fork": may_fork, "address": server}
        paths = {"secret": str(secret), "readable": str(readable), "writable": str(writable)}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, json.dumps(given | paths)],
            env={**bare_environment(), "SECRET": "x"},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return json.loads(done.stdout)

    return run


ACCOUNTS = [pytest.param(NOBODY, id="nobody", marks=pytest.mark.skipif(os.geteuid() != 0, reason="root alone may")), 0]
NEEDED = {"read", "write", "delete", "start a thread", "discard"}


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_confined_process_reaches_its_files_and_nothing_else(account, run_confined, require):
    outcome = run_confined(account=account)
    require(not outcome["missing"], f"this kernel does not allow {outcome['missing']}")
    refused = {name for name, end in outcome["done"].items() if end == "PermissionError"}
    assert {name for name, end in outcome["done"].items() if end == "done"} - {"load"} == NEEDED
    assert refused >= set(outcome["done"]) - NEEDED - {"load"}


def test_modules_of_the_code_can_still_be_loaded(run_confined):
    assert run_confined()["done"]["load"] == "done"


def test_a_process_that_may_fork_may_do_that_alone(run_confined):
    outcome = run_confined(may_fork=True)["done"]
    assert outcome["fork"] == "done"
    assert outcome["open a socket"] == outcome["run"] == "PermissionError"


_REFUSED = """
import errno, json, os
from core.sandbox import kernel, landlock, system_calls
from core.sandbox.bounds import Bounds
from core.sandbox.confinement import Reach, confine
def refuse(name, *_):
    if _[:1] == (1,):
        return 0  # the parent's death
    raise OSError(errno.ENOSYS, "Function not implemented")
kernel.call = refuse
missing = confine(Bounds(2**32, 1000, 32, 50), Reach(), parent=os.getppid(), may_fork=False)
print(json.dumps(missing), flush=True)
"""


def test_a_kernel_that_allows_nothing_is_told_and_the_process_goes_on():
    done = subprocess.run([sys.executable, "-c", _REFUSED], capture_output=True, text=True, check=True, cwd=ROOT)
    missing = json.loads(done.stdout)
    assert set(missing) == {
        "network of its own",
        "no capabilities",
        "no new privileges",
        "closed to inspection",
        "few files",
        "few system calls",
        "no new processes",
    }
    assert set(missing.values()) == {"Function not implemented"}


@pytest.mark.parametrize(
    ("work", "end"),
    [
        ("allow_cpu(1)\nwhile True: pass", -signal.SIGXCPU),
        ("Bounds(2**32, 0, 32, 1).take()\nwhile True: pass", -signal.SIGKILL),
        ("Bounds(2**29, 0, 32).take()\nbytearray(2**30)", 1),
        ("Bounds(2**32, 10, 32).take()\nf = open('long', 'wb', 0)\nf.write(bytes(10))\nf.write(b'x')", 1),
        ("Bounds(2**32, 10, 8).take()\n[open('/dev/null') for _ in range(9)]", 1),
    ],
)
def test_bounds_hold(work, end, tmp_path):
    program = f"from core.sandbox.bounds import Bounds, allow_cpu\n{work}"
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], env=bare_environment(), cwd=tmp_path, check=False, capture_output=True
    )
    assert done.returncode in (end, -signal.SIGXCPU if end == -signal.SIGKILL else end), done.stderr
    assert time.monotonic() - begun < 60
    assert all(path.stat().st_size <= 10 for path in tmp_path.iterdir())


def test_a_bound_that_is_tighter_already_stays_and_time_may_be_given_again():
    program = (
        "import resource\nfrom core.sandbox.bounds import Bounds, allow_cpu\n"
        "Bounds(2**31, 5, 20, 7).take()\nBounds(2**40, 50, 200, 70).take()\nallow_cpu(3)\nallow_cpu(100)\n"
        "print([resource.getrlimit(kind)[0] for kind in "
        "(resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=bare_environment(), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [2**31, 5, 20, 7]


def test_the_environment_of_a_confined_process_names_no_setting_and_no_secret():
    given = {"PATH": "/bin", "LENET_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "PYTHONPATH": "/elsewhere"}
    kept = bare_environment(given)
    assert kept["PATH"] == "/bin"
    assert kept["PYTHONPATH"] == str(ROOT)
    assert not {"k", "s"} & set(kept.values())

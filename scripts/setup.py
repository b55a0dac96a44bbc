"""Makes the checkout's ``.venv`` and brings it up to date: all that ``make`` needs before it runs anything.

Standard library only, and a syntax that old Pythons can read, so that they get a sentence and no traceback. When
nothing has changed since the last time, nothing is installed, and no second passes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV_NAME = ".venv"
STAMP_NAME = ".set-up"
LOCK_NAME = ".set-up-lock"
EXTRA = "dev"  # It holds `embedded` too: one installation serves `make demo` and `make test`.
OLDEST = (3, 11)
GENERAL, CPU_ONLY = "constraints.txt", "constraints-cpu.txt"
LOCK = f"locks/{EXTRA}.txt"
INPUTS = ("pyproject.toml", GENERAL, CPU_ONLY, LOCK)
DRIVER_FILE = Path("/proc/driver/nvidia/version")


class SetUpError(Exception):
    """The environment cannot be made; the message says what to do."""


def main() -> int:
    """Bring ``.venv`` up to date and return the exit status."""
    try:
        check_python(sys.version_info[:2])
        with_driver = has_nvidia_driver()
        home = environment_home()
        (ROOT / VENV_NAME).mkdir(exist_ok=True)
        with (ROOT / VENV_NAME / LOCK_NAME).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Two `make` at once install once.
            bring_up_to_date(ROOT, home, fingerprint(ROOT, with_driver=with_driver), with_driver=with_driver)
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"set-up: `{shlex.join(error.cmd)}` failed; the next `make` tries it again.", file=sys.stderr)
        return 1
    return 0


def check_python(version: tuple[int, ...]) -> None:
    """Raise `SetUpError` where this Python is too old."""
    if version < OLDEST:
        found, wanted = (".".join(str(part) for part in numbers) for numbers in (version, OLDEST))
        raise SetUpError(f"Python {wanted} or newer is needed, and this is {found}: make PYTHON=python{wanted} …")


def has_nvidia_driver(driver_file: Path = DRIVER_FILE, program: str = "nvidia-smi") -> bool:
    """Return whether this machine can use the CUDA build of torch."""
    return driver_file.exists() or shutil.which(program) is not None


def environment_home() -> str:
    """Return what an environment is bound to: its place (scripts in it name it) and the Python it was made with."""
    return f"{ROOT / VENV_NAME} {base_python()} {platform.python_version()}"


def base_python() -> str:
    """Return the Python beneath any environment, so that `make` in an active `.venv` does not pull it away."""
    return os.path.realpath(sys.executable)


def fingerprint(root: Path, *, with_driver: bool) -> str:
    """Return a digest of everything that decides what is installed."""
    digest = hashlib.sha256(f"{EXTRA} {with_driver}".encode())
    for name in INPUTS:
        digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()


def bring_up_to_date(root: Path, home: str, digest: str, *, with_driver: bool) -> None:
    """Make the environment and install into it, where the stamp does not say that this was done.

    The stamp goes first and comes back last, so that an installation that was cut short is done again.
    """
    stamp = root / VENV_NAME / STAMP_NAME
    told = stamp.read_text().splitlines() if stamp.exists() else []
    python = root / VENV_NAME / "bin" / "python"
    if told == [home, digest] and python.exists():
        return
    stamp.unlink(missing_ok=True)
    if not told or told[0] != home or not python.exists():
        make_environment(root, anew=bool(told))
    install(root, python, with_driver=with_driver)
    stamp.write_text(f"{home}\n{digest}\n")


def make_environment(root: Path, *, anew: bool) -> None:
    """Make ``.venv``; ``anew`` throws away what was there, since it was made for another place or Python."""
    print(f"set-up: making {VENV_NAME} with Python {platform.python_version()}", flush=True)
    venv = root / VENV_NAME
    if anew:
        for name in ("bin", "include", "lib", "lib64", "pyvenv.cfg"):
            remove(venv / name)
    try:
        run([base_python(), "-m", "venv", str(venv)])
    except subprocess.CalledProcessError as error:
        raise SetUpError("this Python cannot make environments; on Debian: apt install python3-venv") from error


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def install(root: Path, python: Path, *, with_driver: bool) -> None:
    """Install the checkout with everything that it needs.

    First what is locked, each file by its hash; then torch and the checkout itself, for which no hash can be known
    here: the right file of torch depends on the machine and on how pip is configured. Whatever else was missing then
    would come without a hash too; a test sees to it that nothing is.
    """
    build = "for the NVIDIA driver that is here" if with_driver else "for processors only (no NVIDIA driver is here)"
    print(f"set-up: installing, torch {build}; minutes the first time", flush=True)
    command, variables = installer(python)
    run([*command, "--require-hashes", "--no-deps", "--requirement", LOCK], folder=root, variables=variables)
    run([*command, *requirements(with_driver=with_driver)], folder=root, variables=variables)


def installer(python: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command that installs, and the variables that it needs: uv's where it is present, else pip's."""
    uv = shutil.which("uv")
    settings = pip_settings(python) if uv else {}
    if uv and uv_can_follow(settings):
        return [uv, "pip", "install", "--quiet", "--python", str(python)], uv_variables(settings)
    # Twice quiet: errors only, and no line for each index that lacks a package.
    return [str(python), "-m", "pip", "install", "--no-input", "--quiet", "--quiet"], {}


def requirements(*, with_driver: bool) -> list[str]:
    """Return what is installed and under which pins: without a driver, those of the small build of torch too."""
    files = [GENERAL] if with_driver else [GENERAL, CPU_ONLY]
    pins = [part for name in files for part in ("--constraint", name)]
    # What builds the checkout is in the lock: a build in isolation would fetch it anew, whatever its hash.
    return [*pins, "--no-build-isolation", "--editable", f".[{EXTRA}]"]


def pip_settings(python: Path) -> dict[str, list[str]]:
    """Return what pip is configured with, by file or variable: the name of each setting and its values."""
    answer = subprocess.run([str(python), "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    return read_pip_settings(answer.stdout)


def read_pip_settings(listing: str) -> dict[str, list[str]]:
    r"""Read lines such as ``global.find-links='/wheels\n/more'``; of several for one setting, all values count."""
    settings: dict[str, list[str]] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        settings.setdefault(name, []).extend(value.strip("'\"").replace("\\n", " ").split())
    return settings


def uv_can_follow(settings: dict[str, list[str]]) -> bool:
    """Return whether uv would find what pip finds: it reads none of pip's settings, and takes indexes differently."""
    return not any(name in settings for name in ("index-url", "extra-index-url", "no-index"))


def uv_variables(settings: dict[str, list[str]]) -> dict[str, str]:
    """Return what makes uv look into the folders of wheels that pip is told of."""
    folders = list(dict.fromkeys(settings.get("find-links", [])))
    return {"UV_FIND_LINKS": ",".join(folders)} if folders and "UV_FIND_LINKS" not in os.environ else {}


def run(command: list[str], *, folder: Path = ROOT, variables: dict[str, str] | None = None) -> None:
    """Run a command with some variables more; raises `subprocess.CalledProcessError` where it fails."""
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, **(variables or {})})


if __name__ == "__main__":
    sys.exit(main())

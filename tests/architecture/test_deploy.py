"""Holds docker-compose.yml and the Dockerfiles to what the program is, since no test starts a container engine."""

import ast
import hashlib
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from core.db.engine import open_engine
from core.settings import ENVIRONMENT_PREFIX, Settings
from core.storage.wiring import open_store

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / "deploy" / "example.env"
GUIDE = ROOT / "docs" / "howto" / "deploy.md"
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
# Packages of the repository: the first part of what our code imports of ours.
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}
# A container that ends itself where it cannot go on is watched by its restart policy alone.
WITHOUT_HEALTH_CHECK = {"beat", "migrate", "roles"}
# They do their work and end.
ENDING = {"migrate", "roles"}
# Its image has no user; it runs without any capability.
WITHOUT_USER = {"s3"}

_REFERENCE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?:(?P<mode>:[-?])(?P<rest>[^}]*))?\}")


def read_env(text: str) -> dict[str, str]:
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolate(text: str, values: dict[str, str]) -> str:
    """Do what Compose does with ``${NAME:-default}`` and ``${NAME:?message}``."""

    def replace(match: re.Match) -> str:
        name, mode, rest = match["name"], match["mode"], match["rest"]
        if value := values.get(name):
            return value
        if mode == ":?":
            raise KeyError(f"{name} {rest}")
        return rest or ""

    return _REFERENCE.sub(replace, text).replace("$$", "$")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions and their arguments, continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word.upper(), rest) for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines()) if word
    ]


def copied(dockerfile: Path) -> list[str]:
    """Return what a Dockerfile takes from the checkout."""
    words = [shlex.split(rest) for word, rest in instructions(dockerfile) if word == "COPY"]
    return [source for parts in words if not parts[0].startswith("--from") for source in parts[:-1]]


def imported(package: str) -> set[str]:
    """Return the packages of the repository that a package's code imports."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / package).rglob("*.py"))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names} & PACKAGES


def variables() -> list[tuple[str, str]]:
    """Return every variable of ours that is set for a container, with where."""
    found = [(name, variable) for name, service in SERVICES.items() for variable in service.get("environment", {})]
    for dockerfile in DOCKERFILES:
        for word, rest in instructions(dockerfile):
            if word == "ENV":
                found += [(dockerfile.name, pair.partition("=")[0]) for pair in shlex.split(rest)]
    return sorted({(place, variable) for place, variable in found if variable.startswith(ENVIRONMENT_PREFIX)})


def filled() -> dict[str, str]:
    return {name: value or "a" * 20 for name, value in read_env(EXAMPLE.read_text()).items()}


def python_commands() -> list[tuple[str, list[str]]]:
    """Return the commands that run our code: of services, health checks and images."""
    found = [(name, SERVICES[name]["command"]) for name in OURS]
    found += [
        (f"{name}'s health", SERVICES[name]["healthcheck"]["test"][1:])
        for name in OURS
        if "healthcheck" in SERVICES[name]
    ]
    for dockerfile in DOCKERFILES:
        found += [(dockerfile.name, yaml.safe_load(rest)) for word, rest in instructions(dockerfile) if word == "CMD"]
    return found


def test_the_compose_file_keeps_to_the_compose_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_check_finds_a_misspelt_key(tmp_path):
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:", 1))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "depend_on" in done.stdout


@pytest.mark.parametrize(("place", "variable"), variables())
def test_every_variable_of_ours_is_a_setting(place, variable):
    assert variable.removeprefix(ENVIRONMENT_PREFIX).lower() in Settings.model_fields, place


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_each_service_can_be_read_and_used(name, monkeypatch):
    for variable in [variable for variable in os.environ if variable.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(variable)
    for variable, value in SERVICES[name]["environment"].items():
        if value is not None:
            monkeypatch.setenv(variable, interpolate(value, filled()))
    settings = Settings()
    if settings.database_url:
        assert open_engine(settings.database).url.host in SERVICES
    if settings.store_url:
        assert open_store(settings)
    if settings.redis_url:
        assert settings.redis == f"redis://lenet:{'a' * 20}@redis:6379/0"


@pytest.mark.parametrize(("place", "command"), python_commands())
def test_every_command_exists(place, command):
    assert command[0] == "python"
    if command[1] == "-c":
        compile(command[2], place, "exec")
        return
    assert command[1] == "-m"
    module, *arguments = command[2:]
    is_package = find_spec(module).submodule_search_locations is not None
    assert find_spec(f"{module}.__main__" if is_package else module), place
    if arguments:
        assert accepts(module, arguments), place


def accepts(module, arguments) -> bool:
    """Return whether a command line would be taken: a wrong word is refused before ``--help`` is answered."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--help"], cwd=ROOT, capture_output=True, check=False
    )
    return done.returncode == 0


def test_a_role_that_does_not_exist_would_be_found():
    assert not accepts("worker", ["trian"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_an_image_or_a_dockerfile_of_ours(name):
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z0-9./-]+:[\w.-]+", interpolate(service["image"], filled()))
    if "build" in service:
        build = service["build"]
        dockerfile = ROOT / build["context"] / build["dockerfile"]
        assert dockerfile in DOCKERFILES
        known = {rest.partition("=")[0] for word, rest in instructions(dockerfile) if word == "ARG"}
        assert set(build["args"]) <= known


def test_services_that_share_an_image_build_the_same():
    builds: dict[str, list] = {}
    for name in OURS:
        builds.setdefault(SERVICES[name]["image"], []).append(SERVICES[name]["build"])
    assert all(build == same[0] for same in builds.values() for build in same)
    assert len(builds) == 3


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_everything_that_an_image_copies_exists_and_is_not_ignored(dockerfile):
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied(dockerfile)
    for source in copied(dockerfile):
        assert (ROOT / source).exists()
        assert source.partition("/")[0] in let_in


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_has_every_package_that_its_code_imports(dockerfile):
    packages = {source for source in copied(dockerfile) if source in PACKAGES}
    assert set().union(*map(imported, packages)) <= packages


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_of_ours_runs_as_nobody_and_installs_under_the_pins(dockerfile):
    words = instructions(dockerfile)
    assert words[-1][0] == "CMD"
    assert [rest for word, rest in words if word == "USER"] == ["10001:10001"]
    installs = [rest for word, rest in words if word == "RUN" and "pip install" in rest]
    by_hash, *by_pin, own = installs
    extra = dockerfile.name.partition(".")[0]
    assert f"--require-hashes --no-deps --requirement locks/{extra}.txt" in by_hash
    assert own.endswith("--no-deps --no-build-isolation .")
    assert len(by_pin) == (extra == "worker")
    assert all("--constraint constraints.txt" in rest for rest in by_pin)


def test_the_worker_s_image_finds_torch_s_range_in_the_project():
    script = (ROOT / "deploy" / "worker.Dockerfile").read_text()
    command = re.search(r"\$\((sed .*? pyproject\.toml)\)", script)[1]
    found = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"torch>=[\d.]+,<[\d.]+\n", found)


def test_the_api_image_asks_for_nothing_of_the_workers():
    dockerfile = ROOT / "deploy" / "api.Dockerfile"
    assert "worker" not in copied(dockerfile)
    assert not re.search(r"^(torch|onnx|scikit-learn)==", (ROOT / "locks" / "api.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_hardened_and_comes_back(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name in ENDING else "unless-stopped")
    assert ("healthcheck" in service) == (name not in WITHOUT_HEALTH_CHECK)
    assert name in ENDING or "stop_grace_period" in service
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(service)
    assert all(not volume.startswith(("/", ".")) for volume in service.get("volumes", []))
    assert ("user" in service or "build" in service) == (name not in WITHOUT_USER)


def test_only_the_api_is_published_and_by_default_on_this_host_alone():
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    assert [interpolate(port, filled()) for port in SERVICES["api"]["ports"]] == ["127.0.0.1:8000:8000"]
    assert {name for name, service in SERVICES.items() if "edge" in service["networks"]} == {"api"}
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    assert {name for name, network in networks.items() if not (network or {}).get("internal")} == {"edge"}


# Which of the three services behind the platform each container can reach, and which of them it has a password for.
REACHES = {
    "postgres": {"database"},
    "migrate": {"database"},
    "roles": {"database"},
    "redis": {"queue"},
    "beat": {"queue"},
    "s3": {"store"},
}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_reaches_only_what_it_works_with(name):
    assert set(SERVICES[name]["networks"]) - {"edge"} == REACHES.get(name, {"database", "queue", "store"})


SECRETS = {
    "POSTGRES_PASSWORD": {"postgres", "migrate", "roles"},
    "DATABASE_PASSWORD": {"roles", "api", "worker-cpu", "worker-gpu", "worker-ingest"},
    "REDIS_PASSWORD": {"redis", "beat", "api", "worker-cpu", "worker-gpu", "worker-ingest"},
    "S3_SECRET_KEY": {"s3", "api", "worker-cpu", "worker-gpu", "worker-ingest"},
    "LENET_API_KEY": {"api"},
}


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_told_to_those_alone_who_need_it(secret):
    told = {name for name, service in SERVICES.items() if f"{{{secret}:" in str(service.get("environment", {}))}
    assert told == SECRETS[secret]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_stands_on_a_command_line(name):
    service = SERVICES[name]
    lines = str([service.get("command"), service.get("healthcheck", {}).get("test")]).replace("$$", "")
    assert not _REFERENCE.search(lines)


def test_redis_starts_with_the_password_s_hash_in_place(tmp_path):
    """The shell line of the container, with a program in place of Redis that shows its configuration."""
    script = SERVICES["redis"]["command"][2].replace("$$", "$").replace("/redis.conf >", f"{tmp_path}/given.conf >")
    (tmp_path / "given.conf").write_text((ROOT / "deploy" / "redis.conf").read_text())
    (tmp_path / "redis-server").write_text('#!/bin/sh\ncat "$1"; env\n')
    (tmp_path / "redis-server").chmod(0o755)
    script = script.replace("/tmp/redis.conf", f"{tmp_path}/redis.conf")
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REDIS_PASSWORD": "canary-of-redis"}
    done = subprocess.run(["sh", "-ec", script], env=variables, capture_output=True, text=True, check=True)
    assert f"user lenet on #{hashlib.sha256(b'canary-of-redis').hexdigest()} " in done.stdout
    assert "PASSWORD_SHA256" not in done.stdout.replace("in place of PASSWORD_SHA256", "")
    assert "canary-of-redis" not in done.stdout
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0


def test_every_configuration_that_is_given_exists_and_is_used():
    configs = yaml.safe_load(COMPOSE.read_text())["configs"]
    assert all((ROOT / config["file"]).is_file() for config in configs.values())
    assert {name for service in SERVICES.values() for name in service.get("configs", [])} == set(configs)
    assert "/redis.conf" in SERVICES["redis"]["command"][2]
    assert "--file=/roles.sql" in SERVICES["roles"]["command"]


def test_workers_have_time_for_their_checkpoints():
    from embedded.wiring import _WORKER_GRACE_SECONDS

    for name in ("worker-cpu", "worker-gpu", "worker-ingest"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= _WORKER_GRACE_SECONDS


def test_what_computes_for_long_gives_way_to_all_else():
    usual = 1024
    shares = {name: service.get("cpu_shares", usual) for name, service in SERVICES.items()}
    workers = {"worker-cpu", "worker-gpu", "worker-ingest"}
    assert max(shares[name] for name in workers) <= usual / 8
    assert {shares[name] for name in shares.keys() - workers} == {usual}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_waited_for_exists_and_can_come_about(name):
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


def test_every_volume_and_network_that_is_used_is_declared_and_the_other_way_round():
    declared = yaml.safe_load(COMPOSE.read_text())
    volumes = [volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert len(volumes) == len(set(volumes))
    assert set(volumes) == set(declared["volumes"])
    assert {network for service in SERVICES.values() for network in service["networks"]} == set(declared["networks"])


def test_no_secret_has_a_default():
    text = COMPOSE.read_text()
    for match in _REFERENCE.finditer(text):
        if re.search(r"PASSWORD|SECRET|KEY", match["name"]):
            assert match["mode"] == ":?", match[0]
    # Nor does one stand there in plain: every value of such a name is a reference.
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|_URL$", variable):
                assert "${" in value, variable
    with pytest.raises(KeyError, match=r"_PASSWORD is missing in \.env"):
        interpolate(text, {})


def test_the_example_names_every_variable_and_holds_no_secret():
    text = EXAMPLE.read_text()
    named = set(re.findall(r"^#?([A-Z0-9_]+)=", text, flags=re.MULTILINE))
    used = {match["name"] for match in _REFERENCE.finditer(COMPOSE.read_text())}
    passed_on = {
        variable
        for service in SERVICES.values()
        for variable, value in service.get("environment", {}).items()
        if value is None
    }
    assert named == used | passed_on
    secrets = {name: value for name, value in read_env(text).items() if name != "S3_ACCESS_KEY"}
    assert secrets
    assert not any(secrets.values())


def test_the_defaults_that_the_example_shows_are_those_of_the_compose_file():
    shown = dict(re.findall(r"^#([A-Z0-9_]+)=(.+)$", EXAMPLE.read_text(), flags=re.MULTILINE))
    defaults = {match["name"]: match["rest"] for match in _REFERENCE.finditer(COMPOSE.read_text()) if match["rest"]}
    for name, value in shown.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            assert value == str(Settings.model_fields[name.removeprefix(ENVIRONMENT_PREFIX).lower()].default)
        else:
            assert defaults[name] == value


def test_the_guides_loop_fills_in_every_secret(tmp_path):
    block = re.search(r"<!-- secrets: begin -->\n```shell\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)[1]
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/example.env").write_text(EXAMPLE.read_text())
    subprocess.run(["sh", "-euc", block], cwd=tmp_path, check=True)
    values = read_env((tmp_path / ".env").read_text())
    assert interpolate(COMPOSE.read_text(), values)
    secrets = [value for name, value in values.items() if name != "S3_ACCESS_KEY"]
    assert len(set(secrets)) == len(secrets) == 5
    assert all(re.fullmatch(r"[0-9a-f]{40}", secret) for secret in secrets)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_the_guide_says_that_no_container_was_run():
    assert "was not run" in GUIDE.read_text()

"""Dockerfile, compose file and systemd unit, as far as they can be judged without an engine."""

import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from onlooker.core.settings import load_settings
from onlooker.server.config import Settings, check_exposure

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions(text: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest.strip()) for name, rest in pairs]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage, each stage with those of the stage it starts from."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for name, rest in instructions(DOCKERFILE):
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            current = found[alias] = [*found.get(base, []), (name, rest)]
        else:
            current.append((name, rest))
    return found


TARGETS = ("cpu", "cuda")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_numbered_user_and_says_whether_it_is_alive(target: str) -> None:
    last = dict(stages()[target])
    user = last["USER"].split(":")[0]
    assert user.isdigit()
    assert int(user) > 0
    assert "/healthz" in last["HEALTHCHECK"]
    assert last["ENTRYPOINT"] == '["onlooker"]'


def test_bases_are_pinned_and_nothing_is_fetched_behind_pips_back() -> None:
    names = set(stages())
    bases = [rest.split(" AS ")[0] for name, rest in instructions(DOCKERFILE) if name == "FROM"]
    given = dict(rest.split("=") for name, rest in instructions(DOCKERFILE) if name == "ARG")
    bases = [re.sub(r"\$\{(\w+)\}", lambda name: given[name[1]], base) for base in bases]
    outside = [base for base in bases if base not in names]
    assert outside
    assert all(re.search(r":v?\d", base) for base in outside)
    assert all(name != "ADD" for name, _ in instructions(DOCKERFILE))
    assert not re.search(r"\b(curl|wget)\b", DOCKERFILE)


def test_the_cuda_image_carries_the_vllm_that_the_extra_asks_for() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = pyproject["project"]["optional-dependencies"]["gpu"][0].removeprefix("vllm==")
    tag = re.search(r"ARG VLLM_IMAGE=vllm/vllm-openai:v(\S+)", DOCKERFILE)
    assert tag
    assert fnmatch.fnmatch(tag[1], wanted)


def test_images_bring_every_extra_but_those_that_are_heavy_or_choose_an_engine() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    doors = re.findall(r'^ARG DOORS="(.*)"$', DOCKERFILE, re.MULTILINE)
    assert len(doors) == len(set(doors)) + 1 == 2
    assert set(doors[0].split()) == set(extras) - {"cpu", "gpu", "ray", "webrtc"}
    assert DOCKERFILE.count('DOORS="${DOORS}"') == 2


def test_images_are_made_by_scripts_that_exist() -> None:
    scripts = set(re.findall(r"deploy/setup/[\w.]+\.(?:sh|py)", DOCKERFILE))
    assert "deploy/setup/packages.sh" in scripts
    assert [script for script in scripts if not (ROOT / script).exists()] == []


def context_holds(path: str) -> bool:
    """Whether .dockerignore lets a path into the build."""
    inside = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        whole = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        candidates = [*whole, *parts] if "**/" in rule else whole
        if any(fnmatch.fnmatch(candidate, pattern) for candidate in candidates):
            inside = rule.startswith("!")
    return inside


def test_the_build_gets_all_that_the_wheel_is_made_of() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    needed = [*wheel["targets"]["wheel"]["only-include"], "README.md", "LICENSE", "pyproject.toml"]
    needed += ["deploy/setup/packages.sh", "demo_model/world.py", "clients/web/index.html"]
    assert [path for path in needed if not context_holds(path)] == []


@pytest.mark.parametrize(
    "path", [".git/config", ".env", ".venv/bin/python", "runs/x", "tests/test_tidy.py",
             "core/__pycache__/clock.pyc", "docker-compose.yml"],
)  # fmt: skip
def test_the_build_gets_nothing_else(path: str) -> None:
    assert not context_holds(path)


# ---- compose ----
@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image",
    "init", "logging", "networks", "ports", "profiles", "read_only", "restart", "security_opt",
    "shm_size", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip


def test_services_use_known_keys_and_declared_names(compose: dict[str, Any]) -> None:
    assert {key for key in compose if not key.startswith("x-")} == {
        "name", "services", "networks", "volumes",
    }  # fmt: skip
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service["networks"]) <= set(compose["networks"])
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            local = source.startswith("./")
            assert (ROOT / source).exists() if local else source in compose["volumes"], volume


def test_every_service_is_bounded_restarted_and_watched(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory"} <= set(limits), name
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"]["max-size"], name
        built_here = "build" in service  # its health check is in the image
        assert built_here or service["healthcheck"]["test"], name
        if not built_here:
            assert re.search(r":v?\d+\.\d+", service["image"]), name


def test_only_the_gateway_listens_beyond_the_machine(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert name.startswith("onlooker") or port.startswith("127.0.0.1:"), name
    assert "ports" not in compose["services"]["redis"]


def test_secrets_come_from_the_environment_and_have_no_default(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / "deploy" / "env.example").read_text()
    secrets = re.findall(r"\$\{(\w*(?:KEY|PASSWORD))([^}]*)\}", text)
    assert {name for name, _ in secrets} == {
        "ONLOOKER_API_KEY", "REDIS_PASSWORD", "GRAFANA_PASSWORD",
    }  # fmt: skip
    assert all(rest.startswith(":?") for _, rest in secrets)
    assert all(f"{name}=\n" in example for name, _ in secrets)


def test_variables_of_the_compose_file_are_in_the_example(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / "deploy" / "env.example").read_text()
    used = dict(re.findall(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?", text))
    for name, default in used.items():
        assert f"{name}={default}" in example


def test_the_server_accepts_the_settings_that_compose_gives(compose: dict[str, Any]) -> None:
    for service in (compose["services"]["onlooker"], compose["services"]["onlooker-gpu"]):
        given = {k: v for k, v in service["environment"].items() if k.startswith("ONLOOKER_")}
        filled = {k: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", v) for k, v in given.items()}
        filled = {
            k: re.sub(r"\$\{\w+:\?[^}]*\}", "a-long-enough-secret", v) for k, v in filled.items()
        }
        settings = load_settings(Settings, environ=filled, overrides={"server.host": "0.0.0.0"})
        check_exposure(settings.server)
        assert settings.server.api_keys


# ---- systemd ----
def test_the_unit_drops_rights_and_restarts() -> None:
    unit = (ROOT / "deploy" / "systemd" / "onlooker.service").read_text()
    for line in ("DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict",
                 "Restart=on-failure", "CapabilityBoundingSet="):  # fmt: skip
        assert f"\n{line}\n" in unit
    assert re.search(r"^ExecStart=/opt/onlooker/bin/onlooker serve$", unit, re.MULTILINE)

"""The ``onlooker`` command as a person runs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from onlooker.server.cli import app
from tests.fakes.logs import logging_restored
from tests.fakes.waiting import WAIT_S, in_time

IMPORTS_VLLM = pytest.mark.filterwarnings("ignore")  # of other people's packages


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run the command in this process; exit status and everything it printed."""
    with logging_restored():
        result = CliRunner(env={"ONLOOKER_CONFIG": None, **environ}).invoke(app, list(arguments))
    return result.exit_code, result.output


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def refused(*arguments: str, **environ: str) -> str:
    """The one line with which the command refuses."""
    status, output = run("serve", "--port", "0", *arguments, **environ)
    assert status == 2, output
    lines = [line for line in output.splitlines() if line.startswith("onlooker: ")]
    assert len(lines) == 1, output
    assert "Traceback" not in output
    return lines[0]


def test_a_port_in_use_is_one_clear_line() -> None:
    with taken_port() as port:
        line = refused("--mode", "fake", "--port", str(port))
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


@IMPORTS_VLLM
def test_an_unknown_model_folder_is_one_clear_line(tmp_path: Path) -> None:
    assert "no model folder" in refused("--model", str(tmp_path / "nothing"))


@IMPORTS_VLLM
def test_a_folder_without_weights_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"]})
    )
    assert "weights" in refused("--model", str(tmp_path))


def test_beyond_loopback_without_a_key_is_refused() -> None:
    line = refused("--mode", "fake", "--host", "0.0.0.0")
    assert "ONLOOKER_SERVER__API_KEYS" in line


def test_several_gateways_without_a_redis_are_refused_with_its_setting() -> None:
    line = refused("--mode", "fake", "--gateways", "2")
    assert "cache_store.redis.url" in line
    assert "server.gateways" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--mode", "quick"], "engine.mode"),
        (["--set", "server.prot=1"], "no setting 'server.prot'"),
        (["--set", "server.port"], "NAME=VALUE"),
        (["--config", "no-such-file.toml"], "no-such-file.toml"),
        (["--mode", "fake", "--api-key", "short"], "API key"),
    ],
)
def test_a_bad_setting_is_one_clear_line(arguments: list[str], expected: str) -> None:
    assert expected in refused(*arguments)


def test_the_effective_settings_are_shown_and_secrets_are_not(tmp_path: Path) -> None:
    file = tmp_path / "onlooker.toml"
    file.write_text("[server]\nport = 9000\nmax_connections = 7\n")
    status, output = run(
        "config", "--config", str(file), "--set", "streams.max_streams=3",
        ONLOOKER_SERVER__PORT="9100", ONLOOKER_SERVER__API_KEYS="a-secret-key-1",
    )  # fmt: skip
    settings = json.loads(output)
    assert status == 0
    assert settings["server"]["port"] == 9100
    assert settings["server"]["max_connections"] == 7
    assert settings["streams"]["max_streams"] == 3
    assert settings["server"]["api_keys"] == ["**********"]
    assert "a-secret-key-1" not in output


def test_the_version_is_told() -> None:
    status, output = run("--version")
    assert status == 0
    assert output.startswith("onlooker 0.")


def test_it_serves_until_it_is_told_to_stop() -> None:
    environ = {**os.environ, "ONLOOKER_SERVER__PORT": "0", "ONLOOKER_ENGINE__MODE": "fake"}
    command = [sys.executable, "-m", "onlooker.server", "serve"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            while not lines or not lines[-1].startswith("page "):
                lines.append(in_time("a line of the server", process.stdout.readline))
                assert lines[-1], lines
            page = lines[-1].split()[1]
            with urllib.request.urlopen(f"{page}readyz", timeout=WAIT_S) as reply:
                assert json.load(reply)["status"] == "ok"
            process.send_signal(signal.SIGTERM)
            rest = in_time("the server to stop", process.stdout.read)
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
    assert any(line.startswith("  ... ") for line in lines)
    assert any(line.startswith("ready: model 'fake'") for line in lines)
    steps, _, last = rest.rstrip("\n").rpartition("\n")
    assert steps.startswith("Three things to do next:\n")
    assert last == "stopped"

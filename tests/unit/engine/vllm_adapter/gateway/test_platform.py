"""What vLLM's processes find in their environment."""

import importlib
import json
import logging
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from onlooker.core.errors import ConfigError
from onlooker.core.log import ENV_LOG_FORM
from onlooker.engine.config import VllmSection
from onlooker.engine.vllm_adapter.gateway.platform import (
    QUIET,
    check_cores,
    model_threads,
    prepare_environment,
    set_while,
)


@pytest.mark.parametrize(
    ("bind", "places"), [("0", "{0}"), ("1-3", "{1,2,3}"), ("0,2,4-5", "{0,2,4,5}")]
)
def test_listed_cores_become_threads_of_the_model(
    bind: str, places: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", bind)
    threads = model_threads()
    assert threads is not None
    assert threads["OMP_PLACES"] == places
    assert threads["OMP_NUM_THREADS"] == str(len(places.split(",")))


@pytest.mark.parametrize("bind", ["auto", "nobind", "0-1|2-3", ""])
def test_other_bindings_are_left_to_vllm(bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", bind)
    assert model_threads() is None


@pytest.mark.parametrize(
    ("cores", "parts", "bind"),
    [
        ({0}, 1, "0"),
        ({0, 1, 2, 3}, 1, "1,2,3"),
        ({0, 1}, 2, "0|1"),
        ({0, 1, 2}, 2, "1|2"),
        ({0, 1, 2, 3, 4, 5}, 2, "1,2|3,4"),
        ({4, 5}, 4, "4|5|4|5"),
    ],
)
def test_the_cores_are_shared_out_and_one_is_left_for_the_gateway(
    cores: set[int], parts: int, bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores)
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "")
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND")
    settings = VllmSection(tensor_parallel_size=parts)
    prepare_environment(settings, cpu=True, model_is_local=False)
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == bind
    check_cores(parts)


@pytest.mark.parametrize(("bind", "parts"), [("0-3", 2), ("0|1", 1), ("auto", 2), ("0|1|2", 2)])
def test_cores_that_are_not_those_of_so_many_parts_are_refused(
    bind: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", bind)
    with pytest.raises(ConfigError, match="one list of cores for each"):
        check_cores(parts)


def test_the_cores_of_the_settings_are_one_list_for_each_part() -> None:
    assert VllmSection(cpu_threads_bind="0|1", tensor_parallel_size=2).tensor_parallel_size == 2
    with pytest.raises(ValidationError, match="give one list for each"):
        VllmSection(cpu_threads_bind="0-3", tensor_parallel_size=2)


def test_variables_are_set_for_a_while_and_then_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_PLACES", raising=False)
    with set_while({"OMP_NUM_THREADS": "2", "OMP_PLACES": "{0,1}"}):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_PLACES"]) == ("2", "{0,1}")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OMP_PLACES" not in os.environ


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*QUIET, "VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIGURE_LOGGING", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")  # noted, so that it is set back after the test
        monkeypatch.delenv(name)


def prepare() -> None:
    prepare_environment(VllmSection(), cpu=False, model_is_local=False)


def test_in_a_server_vllm_is_told_to_write_lines_as_the_server_does(
    environment: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vllm")  # which also sets it back after the test
    monkeypatch.setenv(ENV_LOG_FORM, "info,json,10")
    prepare()
    content = json.loads(Path(os.environ["VLLM_LOGGING_CONFIG_PATH"]).read_text())
    module, _, name = content["handlers"]["onlooker"]["()"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert logging.getLogger("vllm").level == logging.ERROR


@pytest.mark.parametrize(
    "theirs", [{"VLLM_LOGGING_CONFIG_PATH": "mine.json"}, {"VLLM_CONFIGURE_LOGGING": "0"}]
)
def test_what_the_operator_says_of_vllms_log_is_left_alone(
    theirs: dict[str, str],
    environment: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "vllm")
    monkeypatch.setenv(ENV_LOG_FORM, "info,json,10")
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    prepare()
    expected = theirs.get("VLLM_LOGGING_CONFIG_PATH")
    assert os.environ.get("VLLM_LOGGING_CONFIG_PATH") == expected


def test_outside_of_a_server_vllms_log_is_left_alone(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENV_LOG_FORM, raising=False)
    prepare()
    assert "VLLM_LOGGING_CONFIG_PATH" not in os.environ

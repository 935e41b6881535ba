"""What vLLM's processes find in their environment."""

import os

import pytest

from onlooker.engine.vllm_adapter.gateway.platform import model_threads, set_while


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


def test_variables_are_set_for_a_while_and_then_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_PLACES", raising=False)
    with set_while({"OMP_NUM_THREADS": "2", "OMP_PLACES": "{0,1}"}):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_PLACES"]) == ("2", "{0,1}")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OMP_PLACES" not in os.environ

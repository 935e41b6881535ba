"""What needs no model does not import one: rooms that load neither torch nor vLLM."""

import importlib.util
import subprocess
import sys

import pytest

HEAVY = ("torch", "vllm", "transformers")

IMPORT_ALL = f"""
LEFT_OUT = {[] if importlib.util.find_spec("model2vec") else ["meaning.static_embedder"]}
"""
IMPORT_ALL += """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        # All but the first need frameworks that only whoever uses them installs.
        if not found.name.endswith(tuple(LEFT_OUT) + (
            "__main__", "eyes.pipecat_eyes", "eyes.livekit_eyes", "lmms.models.onlooker",
            "lmms.models.manifest",
        )):
            importlib.import_module(found.name)
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def loaded_by(*rooms: str) -> set[str]:
    """Top-level packages that a fresh interpreter has after it imported all of `rooms`."""
    command = [sys.executable, "-c", IMPORT_ALL, *rooms]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "rooms",
    [
        ("onlooker.core", "onlooker.scheduler", "onlooker.cache_store"),
        ("onlooker.engine.memory",),
        (
            "onlooker.engine.vllm_adapter.wire",
            "onlooker.engine.vllm_adapter.seams",
            "onlooker.engine.vllm_adapter.step",
            "onlooker.engine.vllm_adapter.families",
            "onlooker.engine.vllm_adapter.entry.plugin",
        ),
        ("onlooker.streams", "onlooker.watches", "onlooker.server"),
        ("onlooker.clients",),
    ],
    ids=lambda rooms: rooms[0].removeprefix("onlooker."),
)
def test_a_room_that_needs_no_model_imports_none(rooms: tuple[str, ...]) -> None:
    assert loaded_by(*rooms) & set(HEAVY) == set()


def test_the_server_needs_no_webrtc() -> None:
    without = "import sys; sys.modules['aiortc'] = sys.modules['aioice'] = None; "
    code = without + "import onlooker.server.cli, onlooker.server.app, onlooker.server.wiring"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_server_needs_no_mcp() -> None:
    without = "import sys; sys.modules['mcp'] = sys.modules['mcp_types'] = None; "
    rooms = "onlooker.server.cli, onlooker.server.app, onlooker.server.mcp.stdio_command"
    subprocess.run([sys.executable, "-c", f"{without}import {rooms}"], check=True, timeout=120)


def test_the_rule_sees_a_room_that_needs_torch() -> None:
    assert "torch" in loaded_by("onlooker.engine.vllm_adapter.worker.rotary")

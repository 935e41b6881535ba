"""Each client of docs/clients.md does what its row says. `make test-clients` sets them up."""

import asyncio
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from onlooker import demo_model
from onlooker.core.ids import StreamId
from onlooker.core.protocol.server_events import is_openai
from onlooker.engine.fake import ScriptedEngine
from onlooker.server.mcp.agent_tools import TOOLS
from onlooker.server.mqtt.entities import Maker
from tests.clients.terminator import terminating
from tests.fakes.served import Served, jpeg, serving
from tests.unit.server.mqtt.test_entities import described, watch

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
SET_UP = ROOT / os.environ.get("ONLOOKER_TEST_CLIENTS", "runs/clients")
SCRIPTS = Path(__file__).parent / "python"
CLIENT_S = 240.0
"""How long one client may take; most of it goes into its imports."""

SCRIPT = (
    (r"(?i)told", "I was told: {instructions}"),
    (r"(?i)colou?r", "The newest clip is mostly {colour}."),
    (r"(?i)dial", "The number is {result}."),
    (r"", "I have seen {num_clips} clips."),
)

BLUE = "The newest clip is mostly blue."
BUSY = "The number is busy."
TOLD = "I was told: Be brief."


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server with a blue stream, `door`."""
    async with serving(engine=ScriptedEngine(SCRIPT)) as running:
        async with running.http() as http:
            await http.post("/v1/streams", json={"id": "door", "clock": "virtual"})
            headers = {"content-type": "image/jpeg"}
            picture = jpeg((50, 80, 220))
            await http.post("/v1/streams/door/frames?t=0", content=picture, headers=headers)
        yield running


async def output_of(*command: str, cwd: Path, **environment: str) -> str:
    """What a client writes."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CLIENT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-4000:]
    return out.decode()


async def in_python(served: Served, script: str, *, sources: str = "") -> Any:
    """What a Python client found out, as JSON in its last line. `sources`: where it finds ours."""
    python = SET_UP / "python" / "bin" / "python"
    if not python.exists():
        pytest.skip("the clients are not set up; run make test-clients")
    out = await output_of(
        str(python),
        str(SCRIPTS / script),
        cwd=SET_UP,
        BASE_URL=served.api,
        PYTHONPATH=sources,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    return json.loads(out.splitlines()[-1])


async def in_node(served: Served, script: str, **environment: str) -> Any:
    """The same of a client for Node."""
    node = shutil.which("node")
    if node is None or not (SET_UP / "node" / "node_modules").exists():
        pytest.skip("Node or its clients are not there; run make test-clients")
    out = await output_of(node, script, cwd=SET_UP / "node", BASE_URL=served.api, **environment)
    return json.loads(out.splitlines()[-1])


async def test_openai_for_node_asks_by_http_and_by_wss(served: Served, tmp_path: Path) -> None:
    async with terminating(served.base, tmp_path) as secure:
        found = await in_node(served, "openai_sdk.mjs", SECURE_URL=f"{secure}/v1")
    realtime = found.pop("realtime")
    assert found == {"seen": BLUE, "streamed": TOLD, "again": BLUE, "count": 0}
    assert realtime["text"] == TOLD
    assert [event for event in realtime["types"] if not is_openai(event)] == []


async def test_the_agents_sdk_for_python_runs_agents(served: Served) -> None:
    expected = {"seen": BLUE, "again": BLUE, "called": BUSY, "told": TOLD, "count": 0}
    found = await in_python(served, "agents_http.py")
    assert found == {"responses": expected, "chat": expected}


async def test_the_agents_sdk_for_python_calls_tools_by_mcp(served: Served) -> None:
    async with served.http(headers={"content-type": "image/jpeg"}) as http:  # a clip for the album
        await http.post("/v1/streams/door/frames?t=1", content=jpeg((50, 80, 220)))
    found = await in_python(served, "agents_mcp.py")
    assert found == {
        "tools": list(TOOLS),
        "answer": BLUE,
        "picture": "image/jpeg",
        "refusal": "there is no stream 'gate'",
        "called": ["ToolCallItem", "ToolCallOutputItem", "MessageOutputItem"],
    }


async def test_the_agents_sdk_for_python_keeps_its_instructions_in_realtime(
    served: Served,
) -> None:
    found = await in_python(served, "agents_realtime.py")
    assert found["called"] == {"text": [BUSY], "errors": [], "results": ["busy"]}
    assert found["text"] == {"text": [TOLD], "errors": [], "unknown": []}
    # Its default asks for sound alone, which is told once; the rest of its form holds.
    assert found["audio"] == {
        "text": [TOLD], "errors": ["session.output_modalities"], "unknown": [],
    }  # fmt: skip


async def test_the_agents_sdk_for_javascript_runs_agents_and_realtime_agents(
    served: Served,
) -> None:
    found = await in_node(served, "agents.mjs")
    expected = {"seen": BLUE, "called": BUSY, "told": TOLD, "count": 0}
    assert (found["responses"], found["chat"]) == (expected, expected)
    realtime, called = found["realtime"], found["called"]
    assert (realtime["text"], realtime["errors"]) == (TOLD, [])
    assert (called["text"], called["errors"]) == (BUSY, [])
    assert [event for event in realtime["types"] if not is_openai(event)] == []


async def test_the_vercel_ai_sdk_asks_the_stream_of_its_header(served: Served) -> None:
    expected = {"seen": BLUE, "told": TOLD, "called": BUSY, "count": 0}
    found = await in_node(served, "vercel.mjs")
    assert found == {"responses": expected, "chat": expected}


async def test_langchain_chats_calls_functions_and_reads_objects(served: Served) -> None:
    found = await in_python(served, "langchain.py")
    expected = {"seen": BLUE, "streamed": TOLD, "called": BUSY, "count": 0}
    assert found["header"] == BLUE
    assert found["chat"] == {**expected, "stopped": "I have seen 0 "}
    assert found["responses"] == {**expected, "stopped": "I have seen 0 clips."}


async def test_litellm_chats_and_calls_functions(served: Served) -> None:
    assert await in_python(served, "litellm_sdk.py") == {
        "seen": BLUE,
        "streamed": TOLD,
        "called": BUSY,
        "header": BLUE,
        "response": "I have seen 0 clips.",
    }


async def test_pipecat_s_realtime_service_answers_in_a_pipeline(served: Served) -> None:
    found = await in_python(served, "pipecat_realtime.py")
    assert found == {"text": TOLD, "errors": []}


async def test_vllm_bench_serve_measures_the_server(served: Served, tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not there; run make setup")
    options = {
        "backend": "openai-chat", "base-url": served.base, "endpoint": "/v1/chat/completions",
        "model": "fake", "tokenizer": str(Path(demo_model.__path__[0]) / "weights"),
        "dataset-name": "random", "random-input-len": "16", "random-output-len": "8",
        "num-prompts": "4", "result-dir": str(tmp_path), "result-filename": "result.json",
    }  # fmt: skip
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    await output_of(
        sys.executable, str(SCRIPTS / "vllm_bench.py"), *given, "--save-result",
        cwd=tmp_path, OPENAI_API_KEY="none-needed", HF_HUB_OFFLINE="1",
    )  # fmt: skip
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["completed"], result["failed"]) == (4, 0)
    assert result["total_output_tokens"] > 0


@pytest.mark.parametrize("framework", ["pipecat", "livekit"])
async def test_a_voice_agent_sees_looks_and_speaks_up(framework: str) -> None:
    settings: dict[str, Any] = {"streams__perception__max_pair_gap_s": 0.02}
    async with serving(engine=ScriptedEngine(SCRIPT), **settings) as served:
        script = f"{framework}_eyes.py"
        found = await in_python(served, script, sources=str(ROOT / "src"))
    assert found["said"] == ["tell me when it is red"]
    assert found["tool"] == "look"
    answers = found.get("answers", [found.get("answer")])
    assert answers == ["The newest clip is mostly red."]


async def test_home_assistant_takes_every_entity_that_it_is_told_of(tmp_path: Path) -> None:
    python = SET_UP / "homeassistant" / "bin" / "python"
    if not python.exists():
        pytest.skip("Home Assistant is not set up; run make test-clients")
    entities = described(
        StreamId("front.door-1"),
        watch("a", condition="tell me when it is red"),
        watch("b.1", kind="question", question="Who came?"),
        watch("c", kind="commentary", instruction=""),
        maker=Maker("a model", "0.1", url="http://127.0.0.1:8000"),
    )
    listed = tmp_path / "entities.json"
    listed.write_text(json.dumps(entities))
    script = str(SCRIPTS / "home_assistant.py")
    out = await output_of(str(python), script, cwd=SET_UP, ENTITIES=str(listed), PYTHONPATH="")
    kinds = json.loads(out.splitlines()[-1])
    assert kinds == ["binary_sensor"] * 3 + ["image"] + ["sensor"] * 4

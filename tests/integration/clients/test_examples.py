"""The example programs, as people start them, against a server with the scripted engine."""

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.fakes.served import Served, jpeg, serving
from tests.fakes.waiting import limited, until

LOCAL: dict[str, Any] = {
    "watches__webhooks__allow_private": True,
    "streams__perception__max_pair_gap_s": 0.02,
}


async def started(name: str, served: Any, *arguments: str, folder: Path) -> Any:
    environ = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"onlooker.clients.examples.{name}", *arguments,
        cwd=folder, env={**environ, "ONLOOKER_URL": served.base},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def printed_by(process: Any) -> str:
    async with limited("an example to end"):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return str(out.decode())


async def show(served: Served, *colours: str, first: int = 0) -> None:
    """A stream ``demo`` of these colours."""
    async with served.http() as http:
        await http.post("/v1/streams", json={"id": "demo"})
        for at_s, colour in enumerate(colours, first):
            headers = {"Content-Type": "image/jpeg"}
            path = f"/v1/streams/demo/frames?t={at_s}"
            assert (await http.post(path, content=jpeg(colour), headers=headers)).is_success


async def test_a_question_about_the_webcam_is_answered(tmp_path: Path) -> None:
    async with serving() as served:
        process = await started(
            "webcam_question", served, "demo://", "What?", "0.2", folder=tmp_path
        )
        answers = (await printed_by(process)).strip().splitlines()
    assert len(answers) == 3
    assert all(answers)


async def test_an_alert_arrives_at_the_webhook_of_the_example(tmp_path: Path) -> None:
    async with serving(**LOCAL) as served:
        await show(served, "blue")
        arguments = ("demo", "tell me when it is red", "1")
        process = await started("alert_to_webhook", served, *arguments, folder=tmp_path)
        stream = served.gateway.hub.get("demo")
        await until(lambda: stream.watches.ids() or process.returncode is not None)
        await show(served, "blue", "red", first=1)
        printed = await printed_by(process)
    assert "demo: tell me when it is red (at 2 s)" in printed


async def test_a_moment_is_found_and_its_pictures_are_saved(tmp_path: Path) -> None:
    async with serving(**LOCAL) as served:
        await show(served, "red", "blue")
        process = await started("find_a_moment", served, folder=tmp_path)
        printed = await printed_by(process)
    assert "saved" in printed
    assert [path.read_bytes()[:2] for path in (tmp_path / "moments").iterdir()]


async def test_a_session_of_mcp_lists_asks_and_gets_a_picture(tmp_path: Path) -> None:
    async with serving(**LOCAL) as served:
        await show(served, "red", "blue")
        process = await started("mcp_session", served, folder=tmp_path)
        printed = await printed_by(process)
    assert "list_streams" in printed
    assert "get_picture: a picture (image/jpeg" in printed


async def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    gone = SimpleNamespace(base="http://127.0.0.1:9")
    sources = {"webcam_question": ("demo://",)}
    names = ("webcam_question", "alert_to_webhook", "find_a_moment", "mcp_session")
    processes = [
        await started(name, gone, *sources.get(name, ()), folder=tmp_path) for name in names
    ]
    async with limited("the examples to end"):
        told = await asyncio.gather(*(process.communicate() for process in processes))
    for name, (_, err) in zip(names, told, strict=True):
        (line,) = err.decode().splitlines()
        assert line.startswith("nothing answers at http://127.0.0.1:9"), name

"""Replies to MCP clients, which may stop reading."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from onlooker.server.routes.mcp import McpReply
from tests.fakes.waiting import limited


async def nothing() -> Message:
    raise AssertionError("nothing is read")


async def test_a_client_that_takes_nothing_is_let_go_with_what_was_done_for_it() -> None:
    ended: list[str] = []

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("work")

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def stuck(message: Message) -> None:
        await asyncio.Event().wait()

    async with limited("the client to be let go"):
        await McpReply(serve, send_timeout_s=0.01)({"type": "http"}, nothing, stuck)
    assert ended == ["work"]


async def test_what_is_sent_in_time_passes_as_it_is() -> None:
    sent: list[Message] = []

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def take(message: Message) -> None:
        sent.append(message)

    await McpReply(serve, send_timeout_s=1.0)({"type": "http"}, nothing, take)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]

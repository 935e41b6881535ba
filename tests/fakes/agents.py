"""Agents: the official MCP client, against a server of the tests."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
from mcp import types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.fakes.served import KEY, Served

Era = Literal["auto", "legacy"]
"""How a client speaks: as the newest version of the protocol has it, or as those before it."""


@asynccontextmanager
async def agent(served: Served, *, key: str = KEY, era: Era = "auto") -> AsyncIterator[Client]:
    """A client over Streamable HTTP that shows `key`."""
    headers = {"authorization": f"Bearer {key}"}
    failed: Exception | None = None
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False) as http,
        Client(streamable_http_client(f"{served.base}/mcp", http_client=http), mode=era) as client,
    ):
        try:
            yield client
        except Exception as error:  # as it is, and not in the groups of the client's tasks
            failed = error
    if failed is not None:
        raise failed


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool says, which must be the same as JSON and as text."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, types.CallToolResult)
    text = result.content[0]
    assert isinstance(text, types.TextContent)
    assert not result.is_error, text.text
    assert isinstance(result.structured_content, dict)
    assert json.loads(text.text) == result.structured_content
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """The words with which a tool refuses."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, types.CallToolResult)
    text = result.content[0]
    assert isinstance(text, types.TextContent)
    assert result.is_error, text.text
    return text.text

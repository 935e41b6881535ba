"""What an agent does with a server's tools, without a model: list, ask, look at a picture.

pip install 'onlooker[mcp]'
python -m onlooker.clients.examples.mcp_session demo "What is there?"
"""

import asyncio
import os
import sys

import httpx2
from mcp import types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

SERVER = os.environ.get("ONLOOKER_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("ONLOOKER_API_KEY", "none")


async def main(stream: str = "demo", question: str = "What is there?") -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
        # MCP's client says of a server that is not ready yet only that it failed.
        ready = await http.get(f"{SERVER}/v1/models")
        if ready.is_error:
            sys.exit(ready.json()["error"]["message"])
        await session(http, stream, question)


async def session(http: httpx2.AsyncClient, stream: str, question: str) -> None:
    async with Client(streamable_http_client(f"{SERVER}/mcp", http_client=http)) as client:
        tools = (await client.list_tools()).tools
        print("tools:", ", ".join(tool.name for tool in tools))
        for name, arguments in (
            ("list_streams", {}),
            ("ask", {"stream": stream, "question": question}),
            ("get_picture", {"stream": stream}),
        ):
            result = await client.call_tool(name, arguments)
            for part in result.content:
                if isinstance(part, types.TextContent):
                    print(f"{name}: {part.text}")
                elif isinstance(part, types.ImageContent):
                    print(f"{name}: a picture ({part.mime_type}, {len(part.data)} letters)")


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except httpx2.ConnectError:
        sys.exit(f"nothing answers at {SERVER}")

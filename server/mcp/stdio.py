"""MCP over stdin and stdout, for one agent that starts the program itself."""

from mcp.server.stdio import stdio_server

from onlooker.server.mcp.api import ServerApi
from onlooker.server.mcp.sdk_server import make_mcp_server


async def serve_stdio(api: ServerApi) -> None:
    """Answer what comes in by stdin with calls of `api`, until stdin ends."""
    server = make_mcp_server(lambda request: api)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())

"""The OpenAI Agents SDK's MCP client: an agent whose tools are those of the server."""

import asyncio
import json
import os

from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from openai import AsyncOpenAI


async def main() -> None:
    set_tracing_disabled(True)
    base_url = os.environ["BASE_URL"]
    client = AsyncOpenAI(base_url=base_url, api_key="none-needed", max_retries=0)
    door = base_url.removesuffix("/v1") + "/mcp"
    async with MCPServerStreamableHttp({"url": door}, client_session_timeout_seconds=60) as server:
        listed = await server.list_tools()
        answer = await server.call_tool("ask", {"stream": "door", "question": "Which colour?"})
        picture = await server.call_tool("get_picture", {"stream": "door"})
        refusal = await server.call_tool("ask", {"stream": "gate", "question": "Which colour?"})
        agent = Agent(
            name="Watcher",
            model=OpenAIResponsesModel("fake", client),
            mcp_servers=[server],
            model_settings=ModelSettings(tool_choice="list_streams"),
        )
        ran = await Runner.run(agent, "Which streams are there? Call list_streams.")
    found = {
        "tools": [tool.name for tool in listed],
        "answer": json.loads(answer.content[0].text)["answer"],
        "picture": picture.content[1].mime_type,
        "refusal": refusal.content[0].text.partition(":")[0],
        "called": [type(item).__name__ for item in ran.new_items],
    }
    print(json.dumps(found))


asyncio.run(main())

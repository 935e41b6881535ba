"""The OpenAI Agents SDK: a realtime agent."""

import asyncio
import json
import os

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner

URL = os.environ["BASE_URL"].replace("http", "ws", 1) + "/realtime?model=fake&stream=door"


async def answered(settings: dict) -> dict:
    """What comes of a question, and the errors that are told."""
    agent = RealtimeAgent(name="Watcher", instructions="Be brief.")
    runner = RealtimeRunner(agent, config={"model_settings": {"model_name": "fake", **settings}})
    texts, errors, unknown = [], [], []
    async with await runner.run(model_config={"url": URL, "api_key": "none-needed"}) as session:
        await session.send_message("What were you told about the colour?")
        async for event in session:
            if event.type == "error":
                errors.append(event.error.param)
            if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                raw = event.data.data
                if raw["type"].startswith(("input_video", "stream")):
                    unknown.append(raw["type"])
                if raw["type"] == "response.output_text.done":
                    texts.append(raw["text"])
            if event.type == "agent_end":
                break
    return {"text": texts, "errors": errors, "unknown": unknown}


@function_tool
async def dial(number: str) -> str:
    """Dials a number."""
    return "busy"


async def called() -> dict:
    """What an agent says that may call a function, once it has heard what came of the call."""
    agent = RealtimeAgent(name="Caller", instructions="Be brief.", tools=[dial])
    settings = {"model_name": "fake", "modalities": ["text"]}
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    texts, errors, results = [], [], []
    async with await runner.run(model_config={"url": URL, "api_key": "none-needed"}) as session:
        await session.send_message("Please dial.")
        async for event in session:
            if event.type == "error":
                errors.append(str(event.error))
                break
            if event.type == "tool_end":
                results.append(str(event.output))
            if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                raw = event.data.data
                if raw["type"] == "response.output_text.done":
                    texts.append(raw["text"])
                    break
    return {"text": texts, "errors": errors, "results": results}


async def main() -> None:
    found = {
        "text": await answered({"modalities": ["text"]}),
        "audio": await answered({}),
        "called": await called(),
    }
    print(json.dumps(found))


asyncio.run(main())

"""The OpenAI Agents SDK: a realtime agent."""

import asyncio
import json
import os

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


async def main() -> None:
    found = {"text": await answered({"modalities": ["text"]}), "audio": await answered({})}
    print(json.dumps(found))


asyncio.run(main())

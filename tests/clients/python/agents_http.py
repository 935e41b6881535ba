"""The OpenAI Agents SDK: an agent with a function, over responses and over chat completions."""

import asyncio
import json
import os

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel


class Seen(BaseModel):
    colour: str
    count: int


@function_tool
def dial(number: str) -> str:
    """Dial a number."""
    return "busy"


def about_door(text: str) -> list:
    image = {"type": "input_image", "image_url": "stream://door", "detail": "auto"}
    return [{"role": "user", "content": [image, {"type": "input_text", "text": text}]}]


async def tried(model) -> dict:
    agent = Agent(name="Watcher", instructions="Be brief.", model=model, tools=[dial])
    streamed = Runner.run_streamed(agent, "What were you told?")
    text = ""
    async for event in streamed.stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            text += event.data.delta
    reader = Agent(name="Reader", model=model, output_type=Seen)
    first = await Runner.run(agent, about_door("Colour?"))
    more = [*first.to_input_list(), {"role": "user", "content": "Which colour?"}]
    return {
        "seen": first.final_output,
        "again": (await Runner.run(agent, more)).final_output,
        "called": (await Runner.run(agent, "Please dial.")).final_output,
        "told": text,
        "count": (await Runner.run(reader, "What is there?")).final_output.count,
    }


async def main() -> None:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=os.environ["BASE_URL"], api_key="none-needed", max_retries=0)
    found = {
        "responses": await tried(OpenAIResponsesModel("fake", client)),
        "chat": await tried(OpenAIChatCompletionsModel("fake", client)),
    }
    print(json.dumps(found))


asyncio.run(main())

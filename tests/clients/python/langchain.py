"""LangChain's ChatOpenAI: chat completions and responses, functions, objects, streams."""

import json
import os
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Hat(BaseModel):
    colour: str


class Seen(BaseModel):
    hat: Hat
    count: int


@tool
def dial(number: str) -> str:
    """Dial a number."""
    return "busy"


def tried(**options) -> dict:
    model = ChatOpenAI(
        model="fake", base_url=os.environ["BASE_URL"], api_key="none-needed", max_retries=0,
        **options,
    )  # fmt: skip
    image = {"type": "image_url", "image_url": {"url": "stream://door"}}
    asked = HumanMessage([image, {"type": "text", "text": "Colour?"}])
    told = [("system", "Be brief."), ("user", "What were you told?")]
    with_tools = model.bind_tools([dial])
    question = HumanMessage("Please dial.")
    called = with_tools.invoke([question])
    (call,) = called.tool_calls
    result = ToolMessage(dial.invoke(call["args"]), tool_call_id=call["id"])
    read = model.with_structured_output(Seen).invoke("What is there?")
    return {
        "seen": model.invoke([asked]).text,
        "streamed": "".join(chunk.text for chunk in model.stream(told)),
        "called": with_tools.invoke([question, called, result]).text,
        "count": read.count,
        "stopped": model.invoke("How many clips?", **({} if options.get("use_responses_api") else {
            "stop": ["clips"]})).text,
    }  # fmt: skip


header = {"Onlooker-Stream": "door"}
named = ChatOpenAI(
    model="fake", base_url=os.environ["BASE_URL"], api_key="none-needed", default_headers=header
)
json.dump(
    {
        "chat": tried(),
        "responses": tried(use_responses_api=True),
        "header": named.invoke("Colour?").text,
    },
    sys.stdout,
)

"""LiteLLM: chat completions and responses through its library."""

import json
import os
import sys

import litellm

litellm.telemetry = False
OPTIONS = {
    "model": "openai/fake", "api_base": os.environ["BASE_URL"], "api_key": "none-needed",
    "num_retries": 0,
}  # fmt: skip
TOOL = {
    "type": "function",
    "function": {
        "name": "dial",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
    },
}


def user(text: str) -> list:
    return [{"role": "user", "content": text}]


image = {"type": "image_url", "image_url": {"url": "stream://door"}}
seen = litellm.completion(messages=user([image, {"type": "text", "text": "Colour?"}]), **OPTIONS)
chunks = litellm.completion(
    messages=[{"role": "system", "content": "Be brief."}, *user("What were you told?")],
    stream=True, stream_options={"include_usage": True}, **OPTIONS,
)  # fmt: skip
asked = user("Please dial.")
called = litellm.completion(messages=asked, tools=[TOOL], **OPTIONS).choices[0].message
result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "busy"}
again = litellm.completion(messages=[*asked, called, result], tools=[TOOL], **OPTIONS)
header = {"Onlooker-Stream": "door"}
named = litellm.completion(messages=user("Colour?"), extra_headers=header, **OPTIONS)
response = litellm.responses(input="What is there?", **OPTIONS)
json.dump(
    {
        "seen": seen.choices[0].message.content,
        "streamed": "".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
        "called": again.choices[0].message.content,
        "header": named.choices[0].message.content,
        "response": response.output[0].content[0].text,
    },
    sys.stdout,
)

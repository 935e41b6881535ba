"""Texts made to keep a parser busy: refused before they are read, or before they make work."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from tests.fakes.served import (
    KEY,
    Served,
    data_url,
    errors_of,
    jpeg,
    next_event,
    send,
    serving,
    user_item,
)
from tests.integration.server.test_half_sent import raw

MAX_WORK_S = 0.15
"""Processor time of one turn of the event loop, with what the test's own clients do in it. What
these texts took before they were bounded was above a second."""


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(server__api_keys=KEY) as running:
        yield running


HEADERS = {"authorization": f"Bearer {KEY}"}


class Stopwatch:
    """The longest turn of the event loop."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            before_s = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - before_s)


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Watch the event loop while the block runs."""
    watch = Stopwatch()
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()


def unknown_fields(num_bytes: int) -> str:
    fields = {f"field-{number}": 1 for number in range(num_bytes // 16)}
    return json.dumps({"model": "m", "messages": [], **fields})


TEXTS = {
    "unknown fields": unknown_fields(250_000),
    "a long array": "[" + "1," * 2_000_000 + "1]",
    "many objects": "[" + "{}," * 1_000_000 + "1]",
    "long numbers": "[" + ("9" * 4300 + ",") * 1000 + "1]",
    "deep": "[" * 100 + "]" * 100,
    "escapes": '"' + "\\n" * 1_200_000 + '"',
    "blanks": " " * 4_000_000 + "1",
}


@pytest.mark.parametrize("head", ["Content-Length: 20000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/v1/streams", "/v1/chat/completions", "/v1/streams/a/frames"])
async def test_without_a_key_a_body_is_refused_before_it_comes(
    served: Served, path: str, head: str
) -> None:
    reader, writer = await raw(served)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{head}\r\n\r\n".encode()
    )
    async with asyncio.timeout(1.5):  # the body would be waited for for 30 s
        told = await reader.readuntil(b"\r\n\r\n")
    assert b" 401 " in told
    assert b"connection: close" in told
    writer.close()


async def test_without_a_key_a_body_of_20_megabytes_is_never_read(served: Served) -> None:
    body = b"[" + b"1," * 10_000_000 + b"1]"
    async with served.http() as http:
        with stopwatch() as watch:
            reply = await http.post("/v1/chat/completions", content=body)
    assert (reply.status_code, reply.headers["connection"]) == (401, "close")
    assert watch.longest_s < MAX_WORK_S


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_a_body_that_would_be_much_work_is_refused(served: Served, text: str) -> None:
    headers = {**HEADERS, "content-type": "application/json"}
    async with served.http(headers=headers) as http:
        with stopwatch() as watch:
            reply = await http.post("/v1/chat/completions", content=text.encode())
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_complex")
    assert watch.longest_s < MAX_WORK_S


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_a_message_that_would_be_much_work_is_refused(served: Served, text: str) -> None:
    async with served.ws(additional_headers=HEADERS) as ws:
        with stopwatch() as watch:
            await ws.send(text)
            assert (await next_event(ws, "error"))["error"]["code"] == "too_complex"
        assert watch.longest_s < MAX_WORK_S
        assert await errors_of(ws) == []


async def test_of_many_faulty_messages_only_the_first_is_explained(served: Served) -> None:
    messages = [{"role": "nobody", **{f"field-{n}": n for n in range(60)}} for _ in range(200)]
    async with served.http(headers=HEADERS) as http:
        with stopwatch() as watch:
            body = {"model": "m", "messages": messages}
            reply = await http.post("/v1/chat/completions", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "messages.0.role")
    assert "60 more" in error["message"]
    assert watch.longest_s < MAX_WORK_S


async def test_a_body_without_pictures_may_be_small_only(served: Served) -> None:
    async with served.http(headers=HEADERS) as http:
        for path in ("/v1/streams", "/v1/streams/a/watches", "/v1/realtime/client_secrets"):
            reply = await http.post(path, json={"text": "a" * 200_000})
            assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large"), path


async def test_pictures_still_fit(served: Served) -> None:
    picture = data_url(jpeg(width=2000, height=1500) + bytes(2_500_000))
    parts = [{"type": "image_url", "image_url": {"url": picture}} for _ in range(4)]
    async with served.http(headers=HEADERS) as http, served.ws(additional_headers=HEADERS) as ws:
        model = (await http.get("/v1/models")).json()["data"][0]["id"]
        content = [*parts, {"type": "text", "text": "What is it?"}]
        body = {"model": model, "messages": [{"role": "user", "content": content}]}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        await send(ws, "conversation.item.create", item=user_item("And this?", picture, picture))
        await next_event(ws, "conversation.item.done")


async def test_the_longest_question_fits_whatever_its_letters(served: Served) -> None:
    async with served.http(headers=HEADERS) as http:
        stream = (await http.post("/v1/streams", json={})).json()["id"]
        body = json.dumps({"question": "\U0001f600" * 8000})  # twelve bytes each
        headers = {"content-type": "application/json"}
        reply = await http.post(
            f"/v1/streams/{stream}/questions", content=body.encode(), headers=headers
        )
        assert reply.status_code == 200


async def test_what_is_no_json_is_told_as_before(served: Served) -> None:
    headers = {**HEADERS, "content-type": "application/json"}
    async with served.http(headers=headers) as http:
        reply = await http.post("/v1/streams", content=b"{")
        assert reply.status_code == 400
        assert reply.json()["error"]["message"] == "the request body is not JSON"

"""Whether a conversation makes answers worse: the same questions alone, and one after the other.

One minute of a drawn world is fed on the virtual clock. Then the same questions are asked: each
alone; in one conversation by chat completions; in one over the WebSocket; both as a client gets
them that says nothing of earlier turns, and both with one earlier turn. What the model bears is
said by its folder (`onlooker.json`). Last, questions that lean on the one before ("And the star?",
"Where is it?"), each behind that one: by a client that says nothing of earlier turns, beside one
that wants none (`dialogue_turns: 0`), to which they are questions as any other.

Not shown: corrections, changes of topic, answers that are no longer true.
"""

import argparse
import json
import random
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from onlooker.benchmarks.lone_server import LoneServer
from onlooker.benchmarks.report import rows
from onlooker.clients.python.quiz import Quiz
from onlooker.core.jpeg import encode_jpeg
from onlooker.demo_model.questions import DrawnQuestion
from onlooker.demo_model.render import render
from onlooker.demo_model.world import World

STREAM = "world"
FED_S = 60.0
FPS = 4
SIZE = 224
NUM_QUESTIONS = 40
BOOT_S = 300.0
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class DialogueRow:
    """How many of the questions were answered rightly."""

    name: str
    right: int
    asked: int
    turns_given: int
    """The greatest number of earlier turns that an answer says it was given."""


_FORMS = (
    re.compile(r"Where is (the (?:\w+ )?(?!now)\w+)\?"),
    re.compile(r"What colou?r is (the (?:\w+ )?(?!now)\w+)\?"),
    re.compile(r"Is there (an? (?:\w+ )?(?!now)\w+)\?"),
)
"""Questions of which the next may ask "And the star?"."""


@dataclass(frozen=True, slots=True)
class _FollowUp:
    """A question that leans on the one before."""

    before: str
    text: str
    meant: DrawnQuestion
    """The same as a question that stands alone."""


@dataclass(frozen=True, slots=True)
class _Reply:
    text: str
    turns_given: int


Ask = Callable[[str], Awaitable[_Reply]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this scenario."""
    parser.add_argument("--questions", type=int, default=NUM_QUESTIONS, help="(dialogue)")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ask a server of its own."""
    world = World(options.seed)
    questions = _questions(world, options.seed, options.questions)
    with tempfile.TemporaryDirectory(prefix="dialogue") as folder:
        server = LoneServer(
            Path(folder),
            settings=lambda place: {"cache_store.disk.path": place / "disk"},
            arguments=("--model", options.model),
            boot_s=BOOT_S,
        )
        await server.start()
        try:
            async with httpx.AsyncClient(base_url=server.base, timeout=ANSWER_S) as http:
                (model,) = (await http.get("/v1/models")).json()["data"]
                await _feed(http, world)
                found = [await _marked("alone", questions, _chat(http, model["id"], is_alone=True))]
                for name, turns in (("", None), (", one earlier turn", 1)):
                    ask = _chat(http, model["id"], is_alone=False, turns=turns)
                    found.append(await _marked(f"chat{name}", questions, ask))
                    async with _realtime(server.port, turns=turns) as ask:
                        found.append(await _marked(f"realtime{name}", questions, ask))
                leaning = _follow_ups(world, options.seed, options.questions)
                for name, turns in (("follow-ups", None), ("follow-ups, as they are", 0)):
                    found.append(await _followed(name, leaning, http, model["id"], turns))
        finally:
            await server.stop()
    return {
        "model": model["id"],
        "dialogue_turns": model["dialogue_turns"],
        "rows": [asdict(one) for one in found],
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [[r["name"], r["right"], r["asked"], r["turns_given"]] for r in figures["rows"]]
    bears = f"{figures['model']} bears {figures['dialogue_turns']} earlier turns"
    return f"{bears}\n{rows(['asked', 'right', 'of', 'earlier turns given'], lines)}"


def _questions(world: World, seed: int, count: int) -> list[DrawnQuestion]:
    """So many different questions about the end of what is fed."""
    quiz, found = Quiz(world, seed), dict[str, DrawnQuestion]()
    for _ in range(50 * count):
        if (question := quiz.next(FED_S - 1.0)) is not None:
            found.setdefault(question.text, question)
        if len(found) == count:
            break
    return list(found.values())


def _follow_ups(world: World, seed: int, count: int) -> list[_FollowUp]:
    """So many questions about the same moment that lean on one before them."""
    known = {one.text: one for one in _questions(world, seed, 1000)}
    found = []
    for form in _FORMS:
        asked = {match[1]: text for text in known if (match := form.fullmatch(text)) is not None}
        for before, after in pairwise(sorted(asked)):
            found.append(_FollowUp(asked[before], f"And {after}?", known[asked[after]]))
    for text, one in known.items():
        there = _FORMS[2].fullmatch(text)
        where = there and known.get(f"Where is the {there[1].split(' ', 1)[1]}?")
        if where and one.answer == "yes":
            found.append(_FollowUp(text, "Where is it?", where))
    random.Random(seed).shuffle(found)
    return found[:count]


async def _followed(
    name: str, leaning: Sequence[_FollowUp], http: httpx.AsyncClient, model: str, turns: int | None
) -> DialogueRow:
    right = 0
    for one in leaning:
        ask = _chat(http, model, is_alone=False, turns=turns)
        await ask(one.before)
        right += Quiz.is_right(one.meant, (await ask(one.text)).text)
    print(f"  {name}: {right} of {len(leaning)}", flush=True)
    return DialogueRow(name, right, len(leaning), turns or 0)


async def _feed(http: httpx.AsyncClient, world: World) -> None:
    reply = await http.post("/v1/streams", json={"id": STREAM, "clock": "virtual"})
    reply.raise_for_status()
    for index in range(round((FED_S - 1.0) * FPS) + 1):
        at_s = index / FPS
        picture = encode_jpeg(render(world.state_at(at_s), SIZE, SIZE))
        reply = await http.post(
            f"/v1/streams/{STREAM}/frames?t={at_s}",
            content=picture,
            headers={"content-type": "image/jpeg"},
        )
        reply.raise_for_status()


async def _marked(name: str, questions: Sequence[DrawnQuestion], ask: Ask) -> DialogueRow:
    right, most_turns = 0, 0
    for question in questions:
        reply = await ask(question.text)
        right += Quiz.is_right(question, reply.text)
        most_turns = max(most_turns, reply.turns_given)
    print(f"  {name}: {right} of {len(questions)}", flush=True)
    return DialogueRow(name, right, len(questions), most_turns)


def _chat(http: httpx.AsyncClient, model: str, *, is_alone: bool, turns: int | None = None) -> Ask:
    said: list[dict[str, str]] = []

    async def ask(text: str) -> _Reply:
        if is_alone:
            said.clear()
        said.append({"role": "user", "content": text})
        asked: dict[str, Any] = {"model": model, "messages": said}
        if turns is not None:
            asked["dialogue_turns"] = turns
        reply = await http.post(
            "/v1/chat/completions", json=asked, headers={"Onlooker-Stream": STREAM}
        )
        answer = reply.raise_for_status().json()
        text = answer["choices"][0]["message"]["content"]
        said.append({"role": "assistant", "content": text})
        return _Reply(text, answer["onlooker"]["dialogue_turns"])

    return ask


@asynccontextmanager
async def _realtime(port: int, *, turns: int | None) -> AsyncIterator[Ask]:
    async with connect(f"ws://127.0.0.1:{port}/v1/realtime?stream={STREAM}", proxy=None) as ws:
        if turns is not None:
            session = {"type": "realtime", "dialogue_turns": turns}
            await ws.send(json.dumps({"type": "session.update", "session": session}))

        async def ask(text: str) -> _Reply:
            content = [{"type": "input_text", "text": text}]
            item = {"type": "message", "role": "user", "content": content}
            await ws.send(json.dumps({"type": "conversation.item.create", "item": item}))
            await ws.send(json.dumps({"type": "response.create"}))
            return await _answer(ws)

        yield ask


async def _answer(ws: ClientConnection) -> _Reply:
    async for message in ws:
        event = json.loads(message)
        if event["type"] == "error":
            raise RuntimeError(f"the server refused: {event['error']['message']}")
        if event["type"] == "response.done":
            response = event["response"]
            texts = [part["text"] for item in response["output"] for part in item["content"]]
            return _Reply("".join(texts), response["onlooker"]["dialogue_turns"])
    raise RuntimeError("the connection ended before the answer")

"""`Victim`: the honest tenant, who streams frames at a steady rate and asks now and then."""

import asyncio
import io
import itertools
from contextlib import suppress

from PIL import Image, ImageDraw

from onlooker.benchmarks.attacks.delays import Delays, Usual
from onlooker.benchmarks.attacks.target import HUNG_UP, NOT_LET_IN, AttackTarget, RealtimeLink
from onlooker.core.clock import Clock
from onlooker.core.media import Codec
from onlooker.core.protocol.frame_header import FrameHeader, pack_frame

FPS = 5.0
QUESTION_EVERY_S = 1.0
STREAM = "front-door"
SIZE = (320, 240)
NUM_PICTURES = 30
SETTLED_FRAMES = 5
"""Frames in a row that are quick again after an attack."""
QUICK_S = 0.25
"""Beyond the usual; more is a delay that an attack must not cause."""
POLL_S = 0.05
RECONNECT_S = 0.2

_QUESTION = {"type": "input_text", "text": "What colour is it?"}
_ITEM = {"type": "message", "role": "user", "content": [_QUESTION]}


class Victim:
    """Runs until it is cancelled; connects again when it loses its connection."""

    def __init__(self, target: AttackTarget, clock: Clock) -> None:
        """`target` with the honest tenant's own key."""
        self._target = target
        self._clock = clock
        self._pictures = [_picture(index) for index in range(NUM_PICTURES)]
        self._numbers = itertools.count()
        self._begun_s = clock.now_s()
        self.delays = Delays()

    def worst_beyond_s(self, usual: Usual) -> float:
        """The longest delay beyond `usual` since `delays.restart`."""
        return self.delays.worst_beyond_s(usual, at_s=self._clock.now_s())

    async def run(self) -> None:
        """Stream and ask."""
        while True:
            with suppress(*NOT_LET_IN, *HUNG_UP):
                async with self._target.realtime(stream=STREAM) as link:
                    await self._serve(link)
            self.delays.give_up(at_s=self._clock.now_s())
            await self._clock.sleep(RECONNECT_S)

    async def settle(self, usual: Usual, *, limit_s: float) -> bool:
        """Wait until frames are quick again; False where they are not within `limit_s`."""
        until_s = self._clock.now_s() + limit_s
        while self._clock.now_s() < until_s:
            newest = self.delays.taken_s["frame"][-SETTLED_FRAMES:]
            now_s = self._clock.now_s()
            pending = [
                now_s - sent_s - usual.of(kind) for (kind, _), sent_s in self.delays.open.items()
            ]
            is_quick = all(taken_s - usual.frame < QUICK_S for taken_s in newest)
            if len(newest) == SETTLED_FRAMES and is_quick and max(pending, default=0.0) < QUICK_S:
                return True
            await self._clock.sleep(POLL_S)
        return False

    async def _serve(self, link: RealtimeLink) -> None:
        async with asyncio.TaskGroup() as tasks:
            sending = [tasks.create_task(self._stream(link)), tasks.create_task(self._ask(link))]
            await self._listen(link)
            for task in sending:
                task.cancel()

    async def _stream(self, link: RealtimeLink) -> None:
        with suppress(*HUNG_UP):
            due_s = self._clock.now_s()
            while True:
                number, now_s = next(self._numbers), self._clock.now_s()
                header = FrameHeader(
                    codec=Codec.JPEG, sequence=number, capture_us=int(1e6 * (now_s - self._begun_s))
                )
                # A frame counts from when it was due: who cannot send has to wait as well.
                self.delays.sent("frame", number, at_s=due_s)
                await link.send(pack_frame(header, self._pictures[number % NUM_PICTURES]))
                due_s = max(due_s + 1 / FPS, now_s)
                await self._clock.sleep(due_s - self._clock.now_s())

    async def _ask(self, link: RealtimeLink) -> None:
        with suppress(*HUNG_UP):
            while True:
                await self._clock.sleep(QUESTION_EVERY_S)
                if any(kind == "question" for kind, _ in self.delays.open):
                    continue  # the one under way goes on to count
                number = next(self._numbers)
                self.delays.sent("question", number, at_s=self._clock.now_s())
                response = {
                    "conversation": "none", "input": [_ITEM], "max_output_tokens": 8,
                    "metadata": {"number": str(number)},
                }  # fmt: skip
                await link.send(
                    {"type": "response.create", "event_id": str(number), "response": response}
                )

    async def _listen(self, link: RealtimeLink) -> None:
        asked: dict[str, int] = {}
        async for event in link.events():
            now_s = self._clock.now_s()
            match event["type"]:
                case "input_video.ack":
                    for drop in event["dropped"]:
                        self.delays.lose(drop["reason"])
                    done = [drop["sequence"] for drop in event["dropped"]]
                    for number in (*event["kept"], *event["skipped"], *done):
                        self.delays.answered("frame", number, at_s=now_s)
                case "response.created":
                    number = int(event["response"]["metadata"]["number"])
                    asked[event["response"]["id"]] = number
                case "response.output_text.delta":
                    if (found := asked.pop(event["response_id"], None)) is not None:
                        self.delays.answered("question", found, at_s=now_s)
                case "response.done" if event["response"]["id"] in asked:
                    self.delays.lose(f"question {event['response']['status']}")
                    number = asked.pop(event["response"]["id"])
                    self.delays.answered("question", number, at_s=now_s)
                case "error":
                    self.delays.lose(f"error {event['error']['code']}")
                    if (event["error"]["event_id"] or "").isdigit():
                        number = int(event["error"]["event_id"])
                        self.delays.answered("question", number, at_s=now_s)


def _picture(index: int) -> bytes:
    """A disc that moves and changes its colour, as JPEG; no two in a row are alike."""
    image = Image.new("RGB", SIZE, (40, 40, (37 * index) % 256))
    left = (11 * index) % (SIZE[0] - 80)
    ImageDraw.Draw(image).ellipse((left, 60, left + 80, 140), fill=((53 * index) % 256, 200, 60))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()

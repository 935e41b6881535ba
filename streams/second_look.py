"""`SecondLook`: an answer that is unsure, or rests on what is long past, is given with pictures.

What is brought back of a stream's memory is keys and values; a few pictures of the same moments,
out of the album, are computed anew beside them, so that the model sees them in full. The first
answer is held back until it is known whether it stands.
"""

import asyncio
import hashlib
import io
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import numpy as np
from PIL import Image

from onlooker.core.ids import StreamId, new_response_id
from onlooker.core.media import Clip, Frame, Pixels
from onlooker.engine.interface import (
    AnswerDelta,
    AnswerEnd,
    AnswerEvent,
    Engine,
    Evidence,
    EvidenceSource,
    FinishReason,
    Question,
)
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.streams.config import SecondLookSection
from onlooker.streams.shared import Shared

ALBUM_TIER = "album"
"""Where pictures that are shown again lie, as evidence tells it."""

_PICTURES_STREAM = StreamId("pictures")


class SecondLook:
    """One stream's. Everything runs on the event loop but for the decoding of pictures."""

    def __init__(self, shared: Shared, album: StreamAlbum | None) -> None:
        self._shared, self._album = shared, album

    @property
    def _settings(self) -> SecondLookSection:
        return self._shared.settings.second_look

    def is_due(self, question: Question) -> bool:
        """Whether the answer to a question is looked at before it is given."""
        has_room = len(question.images) < self._shared.engine.info.max_images
        is_plain = not question.tools and question.json_schema is None
        return self._settings.max_pictures > 0 and self._album is not None and has_room and is_plain

    async def answer(self, engine: Engine, question: Question) -> AsyncGenerator[AnswerEvent]:
        """The engine's answer, or a second one that was shown pictures too."""
        said, end = await self._first(engine, question)
        shown: list[tuple[Clip, Evidence]] = []
        if end.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
            if self._is_unsure(said) or self._is_old(end, question):
                shown = await self._pictures(end, question)
                outcome = "looked" if shown else "no_pictures"
            else:
                outcome = "sure"
            self._shared.metrics.second_looks.labels(outcome).inc()
        if not shown:
            for delta in said:
                asked = question.sampling.num_alternatives is not None
                yield delta if asked else replace(delta, chances=())
            yield end
            return
        again = replace(
            question,
            response_id=new_response_id(),
            images=(*question.images, *(clip for clip, _ in shown)),
        )
        async with _closing(engine.answer(again)) as events:
            async for event in events:
                if isinstance(event, AnswerEnd):
                    yield _both(end, event, [evidence for _, evidence in shown])
                else:
                    yield event

    # ---- inside

    async def _first(
        self, engine: Engine, question: Question
    ) -> tuple[list[AnswerDelta], AnswerEnd]:
        sampling = question.sampling
        if sampling.num_alternatives is None:
            question = replace(question, sampling=replace(sampling, num_alternatives=0))
        said: list[AnswerDelta] = []
        async with _closing(engine.answer(question)) as events:
            async for event in events:
                if isinstance(event, AnswerEnd):
                    return said, event
                said.append(event)
        return said, AnswerEnd(FinishReason.ERROR, 0, 0, 0, reason="the engine said no more")

    def _is_unsure(self, said: list[AnswerDelta]) -> bool:
        chances = [chance.logprob for delta in said for chance in delta.chances]
        if not chances:
            return False
        return math.exp(sum(chances) / len(chances)) < self._settings.min_confidence

    def _is_old(self, end: AnswerEnd, question: Question) -> bool:
        brought = [one.end_s for one in end.evidence if one.source is not EvidenceSource.RECENT]
        return bool(brought) and question.asked_s - max(brought) > self._settings.after_s

    async def _pictures(self, end: AnswerEnd, question: Question) -> list[tuple[Clip, Evidence]]:
        """Pictures of what was brought back, spread over it, oldest first."""
        album, info = self._album, self._shared.engine.info
        assert album is not None, "without an album nothing is due"
        spans = [one for one in end.evidence if one.source is not EvidenceSource.RECENT]
        limit = min(self._settings.max_pictures, info.max_images - len(question.images))
        found: dict[int, tuple[Clip, Evidence]] = {}
        for place in np.linspace(0, len(spans) - 1, min(limit, len(spans))).round().astype(int):
            span = spans[int(place)]
            facts = await album.at(span.start_s)
            picture = None if facts is None else await album.picture(facts)
            if facts is None or picture is None or facts.clip_index in found:
                continue
            size = info.frame_width, info.frame_height
            clip = await self._decoded(picture.data, size, facts.start_s)
            evidence = Evidence(facts.start_s, facts.end_s, EvidenceSource.SHOWN_AGAIN, ALBUM_TIER)
            found[facts.clip_index] = clip, evidence
        return [found[index] for index in sorted(found)]

    async def _decoded(self, data: bytes, size: tuple[int, int], at_s: float) -> Clip:
        """A picture of our own album as a clip that belongs to no stream."""
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._shared.pool, _pixels, data, size)
        frame = Frame(sequence=0, capture_s=at_s, received_at_s=0.0, pixels=pixels)
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=7).digest()
        return Clip(_PICTURES_STREAM, -1 - int.from_bytes(digest, "big"), (frame, frame))


@asynccontextmanager
async def _closing(events: AsyncIterator[AnswerEvent]) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
    """The engine is done with the request once the block ends."""
    if isinstance(events, AsyncGenerator):
        async with aclosing(events):
            yield events
    else:
        yield events


def _pixels(data: bytes, size: tuple[int, int]) -> Pixels:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def _both(first: AnswerEnd, second: AnswerEnd, shown: list[Evidence]) -> AnswerEnd:
    """The end of the second answer, with what both cost and what was shown again."""
    fetched = dict(first.fetched_bytes)
    for tier, count in second.fetched_bytes.items():
        fetched[tier] = fetched.get(tier, 0) + count
    return replace(
        second,
        num_prompt_tokens=first.num_prompt_tokens + second.num_prompt_tokens,
        num_cached_tokens=first.num_cached_tokens + second.num_cached_tokens,
        num_output_tokens=first.num_output_tokens + second.num_output_tokens,
        evidence=(*second.evidence, *shown),
        fetched_bytes=fetched,
    )

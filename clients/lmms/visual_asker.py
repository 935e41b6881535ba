"""`VisualAsker`: asks a server about videos and pictures that lie in files or in memory.

Nothing here knows `lmms-eval`; `models/onlooker.py` puts it into that.
"""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from onlooker.clients.python.client import Client
from onlooker.clients.python.errors import AnswerFailed
from onlooker.clients.python.sources import FileSource
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError

Visual = str | Path | Image.Image

PICTURE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tiff"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualQuestion:
    """A question about what is shown with it."""

    text: str
    visuals: tuple[Visual, ...]
    """Videos are shown one after the other, as one stream; pictures go along with the question."""
    max_tokens: int
    stops: tuple[str, ...] = ()
    """Where one of these comes in a reply, the reply ends before it."""

    @property
    def videos(self) -> tuple[str, ...]:
        """The files that are shown."""
        return tuple(str(one) for one in self.visuals if not _is_picture(one))

    @property
    def pictures(self) -> tuple[Visual, ...]:
        """What goes along with the question."""
        return tuple(one for one in self.visuals if _is_picture(one))


class VisualAsker:
    """Shows each video once, however many questions there are about it, on a stream with the
    virtual clock: nothing is dropped. Each question is asked alone.

    Args:
        fps: pictures that are shown of each second of a video.
    """

    def __init__(self, client: Client, *, fps: float = 2.0) -> None:
        self._client, self._fps = client, fps

    async def answers(self, questions: Sequence[VisualQuestion]) -> list[str | OnlookerError]:
        """The replies to questions about the same videos, in their order; an error in the place of
        one that could not be had.

        Raises:
            NotFound: there is no such file.
            InvalidRequest: the questions are about different videos.
            OnlookerError: a video cannot be decoded, or no stream can be had.
        """
        (videos, *others) = {question.videos for question in questions}
        if others:
            raise InvalidRequest("questions that are asked together are about the same videos")
        async with self._client.stream(clock="virtual", gate_threshold=0.0) as stream:
            until_s = await self._show(stream, videos)
            return [await self._asked(stream, question, until_s) for question in questions]

    async def _show(self, stream: RemoteStream, videos: Sequence[str]) -> float:
        """Show videos one after the other; returns the stream time at which the last has ended."""
        shown = 0
        for video in videos:
            async with FileSource(_existing(video)) as source:
                index = 0
                while (picture := await source.picture(index / self._fps)) is not None:
                    await stream.send_frame(picture.pixels, at_s=shown / self._fps)
                    index, shown = index + 1, shown + 1
        return shown / self._fps

    async def _asked(
        self, stream: RemoteStream, question: VisualQuestion, until_s: float
    ) -> str | OnlookerError:
        try:
            return await self._ask(stream, question, until_s)
        except TimeoutError:
            return AnswerFailed("the server did not reply in time")
        except OnlookerError as error:
            return error

    async def _ask(self, stream: RemoteStream, question: VisualQuestion, until_s: float) -> str:
        pictures = [await asyncio.to_thread(_jpeg, one) for one in question.pictures]
        limit = stream.session.limits.max_output_tokens if stream.session else question.max_tokens
        answer = await stream.ask(
            question.text,
            at_s=until_s if question.videos else None,
            max_output_tokens=min(question.max_tokens, limit),
            alone=True,
            images=pictures,
        )
        reply = answer.text
        for stop in question.stops:
            reply = reply.partition(stop)[0]
        return reply


def _existing(video: str) -> Path:
    path = Path(video)
    if not path.is_file():
        raise NotFound(f"there is no video '{video}'")
    return path


def _is_picture(visual: Visual) -> bool:
    if isinstance(visual, Image.Image):
        return True
    return Path(visual).suffix.lower() in PICTURE_ENDINGS


def _jpeg(picture: Visual) -> bytes:
    data = io.BytesIO()
    if isinstance(picture, Image.Image):
        picture.convert("RGB").save(data, "JPEG", quality=95)
        return data.getvalue()
    try:
        with Image.open(picture) as opened:
            opened.convert("RGB").save(data, "JPEG", quality=95)
    except FileNotFoundError:
        raise NotFound(f"there is no picture '{picture}'") from None
    return data.getvalue()

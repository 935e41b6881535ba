"""A server as seen from a program: live streams over WebSocket, the rest over HTTP.

async with Client("http://127.0.0.1:8000") as client:
    async with client.stream("door") as stream:
        await stream.send_frame(jpeg, at_s=0.0)
        answer = await stream.ask("What is on the left?")

async with Client() as client:  # a stream that somebody else feeds
    print(await client.ask("door", "How many objects are there?"))
"""

import math
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.asyncio.client import ClientConnection

from onlooker.clients.python.album import StreamPictures
from onlooker.clients.python.connection import dial
from onlooker.clients.python.encode import guess_codec
from onlooker.clients.python.errors import error_from
from onlooker.clients.python.options import DEFAULT_URL, ClientOptions, http_base
from onlooker.clients.python.questions import data_url
from onlooker.clients.python.server_calls import (
    ServerCalls,
    given,
    request_body,
    session_config,
    time_text,
)
from onlooker.clients.python.stream import RemoteStream
from onlooker.clients.python.timeline import StreamTimeline
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import Conflict, InvalidRequest, NotFound
from onlooker.core.ids import is_stream_id, new_id
from onlooker.core.protocol.base import ClockName, CompactionName, TokenDropName
from onlooker.core.protocol.http import (
    AnswerReply,
    ClientSecretReply,
    ClientSecretRequest,
    CreateStreamRequest,
    ForgetReply,
    FrameReply,
    ModelList,
    QuestionRequest,
    StreamList,
    UpdateStreamRequest,
)
from onlooker.core.protocol.server_events import SessionObject
from onlooker.core.protocol.stream_objects import MaskConfig, StreamObject
from onlooker.core.protocol.surveys import SurveyReply, SurveyRequest
from onlooker.core.scopes import DEFAULT_TOKEN_SCOPES, Scope

ENV_API_KEY = "ONLOOKER_API_KEY"

LOOK_EVERY_S = 1.0
"""How often a server that is starting is asked whether it is ready."""

TELL_EVERY_S = 60.0

SILENT_S = 120.0
"""For how long a server that said that it starts may say nothing: it loads a model meanwhile."""


class Client:
    """One server. Cheap to make, as it connects only when used; enter it, so that it is closed."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        options: ClientOptions | None = None,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`api_key` defaults to the environment's ``ONLOOKER_API_KEY``.

        Raises:
            InvalidRequest: `base_url` is no address of a server.
        """
        self.base_url = http_base(base_url)
        self.options = options or ClientOptions()
        self._api_key = api_key or os.environ.get(ENV_API_KEY) or None
        self._clock = clock
        self._calls = ServerCalls(self.base_url, self._api_key, self.options, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close HTTP connections. Streams that were entered are closed by leaving them."""
        await self._calls.close()

    # ---- live ----

    def stream(
        self,
        stream_id: str | None = None,
        *,
        clock: ClockName | None = None,
        max_fps: float | None = None,
        gate_threshold: float | None = None,
        instructions: str | None = None,
        max_output_tokens: int | None = None,
        dialogue_turns: int | None = None,
        masks: Sequence[MaskConfig] | None = None,
        keep_for_s: float | None = None,
        resumed_at_s: float = 0.0,
        starts_at: float | None = None,
    ) -> RemoteStream:
        """A live connection to a stream, which is created if it does not exist.

        `masks` are parts of the pictures that the server blacks out or blurs before anything looks
        at them, and `keep_for_s` is how long it keeps anything of the stream.

        Without a `stream_id` the stream is a fresh one, which is closed when it is left.

        `dialogue_turns` earlier questions and answers go along with each question; by default as
        many as suit the model, which may be none (`RemoteStream.session` says).

        `resumed_at_s` is the stream time with which `RemoteStream.now_s` begins: pass the stream's
        `seen_until_s` when a new source goes on where an earlier one ended.

        `starts_at` is the wall clock of stream time 0, as for `create_stream`.

        Raises:
            InvalidRequest: `stream_id` cannot name a stream.
        """
        is_own = stream_id is None
        stream_id = stream_id or new_id("stream").replace("_", "-")
        if not is_stream_id(stream_id):
            raise InvalidRequest(
                f"'{stream_id}' cannot name a stream; use 1 to 64 letters, digits, '.', '_', '-'",
                param="stream",
            )
        private = given({"masks": masks, "keep_for_s": keep_for_s})
        session = {
            "instructions": instructions,
            "max_output_tokens": max_output_tokens,
            "input_video": private or None,
            "dialogue_turns": dialogue_turns,
        }
        video = {
            "clock": clock,
            "max_fps": max_fps,
            "gate_threshold": gate_threshold,
            "starts_at": starts_at,
        }
        return RemoteStream(
            stream_id,
            dial=partial(self._dial, stream_id, given(video)),
            options=self.options,
            session=session_config(session),
            is_virtual=clock == "virtual",
            clock=self._clock,
            resumed_at_s=resumed_at_s,
            forget=partial(self.close_stream, stream_id) if is_own else None,
        )

    @asynccontextmanager
    async def _dial(
        self, stream_id: str, video: dict[str, Any], after: int | None = None
    ) -> AsyncIterator[tuple[ClientConnection, SessionObject]]:
        """Connect. Where `video` has settings the stream is made first: only a new one takes them.

        Raises:
            Conflict: the stream exists with another clock.
            OnlookerError: the server cannot be reached, or refused.
        """
        if video:
            try:
                await self.create_stream(stream_id, **video)
            except Conflict:
                await self._check_clock(stream_id, video.get("clock"))
        async with dial(self.base_url, stream_id, self._api_key, self.options, after) as connected:
            yield connected

    async def _check_clock(self, stream_id: str, wanted: str | None) -> None:
        found = (await self.get_stream(stream_id)).clock
        if wanted is not None and found != wanted:
            raise Conflict(
                f"the stream '{stream_id}' is there already and has the {found} clock; close it or "
                "take another name",
                param="clock",
            )

    # ---- HTTP ----

    async def ready(self) -> bool:
        """Whether the server takes traffic; False also where nothing answers."""
        return await self._calls.is_ready()

    async def until_started(self, tell: Callable[[str], None]) -> None:
        """Wait while the server says that it is starting, or starting its engine again.

        `tell` is handed what the server is doing: at once, and again after each minute. A
        server that cannot be reached, or does not start, is no reason to wait: the next call says
        what is wrong. One that said that it starts may be too busy with that to say so again.
        """
        clock = self._clock or SystemClock()
        told_s, heard_s, reason = -math.inf, -math.inf, ""
        while True:
            try:
                if (said := await self._calls.starting()) is None:
                    return
                heard_s, reason = clock.now_s(), said
            except TimeoutError:
                if clock.now_s() - heard_s > SILENT_S:
                    return
            if clock.now_s() - told_s >= TELL_EVERY_S:
                told_s = clock.now_s()
                tell(reason)
            await clock.sleep(LOOK_EVERY_S)

    async def models(self) -> ModelList:
        """The models that the server serves."""
        return ModelList.model_validate_json(await self._calls.text("GET", "/v1/models"))

    async def make_token(
        self,
        scopes: Iterable[Scope] = DEFAULT_TOKEN_SCOPES,
        *,
        ttl_s: int = 600,
    ) -> ClientSecretReply:
        """A token that stands for the client's key for a while, for a browser or another program;
        use its `value` as the key. It lasts 10 to 7200 seconds.

        Raises:
            Forbidden: the key may make no tokens, or has not all of `scopes`.
        """
        body = request_body(
            ClientSecretRequest, expires_after={"seconds": ttl_s}, scopes=sorted(scopes)
        )
        reply = await self._calls.text("POST", "/v1/realtime/client_secrets", json=body)
        return ClientSecretReply.model_validate_json(reply)

    async def create_stream(
        self,
        stream_id: str | None = None,
        *,
        source_url: str | None = None,
        source_options: Mapping[str, Any] | None = None,
        clock: ClockName = "live",
        max_fps: float | None = None,
        gate_threshold: float | None = None,
        token_drop: TokenDropName | None = None,
        compaction: CompactionName | None = None,
        metadata: dict[str, str] | None = None,
        masks: Sequence[MaskConfig] | None = None,
        keep_for_s: float | None = None,
        starts_at: float | None = None,
        name: str | None = None,
        description: str | None = None,
        labels: Sequence[str] | None = None,
    ) -> StreamObject:
        """Make a stream; with `source_url` the server pulls its video from there.

        `source_options` are further fields of the source: ``fps``, ``nominal_fps``, ``loop``,
        ``transport`` and ``every_s``, as `SourceRequest` has them.

        `starts_at` is the wall clock of stream time 0, in seconds since 1970. A stream that is
        found again keeps its own, which the reply tells.

        `name` is what people call it, `description` what it shows, and by `labels` streams are
        picked; a stream that is found again keeps those that are not given.
        """
        body = request_body(
            CreateStreamRequest,
            id=stream_id,
            source={"url": source_url, **(source_options or {})} if source_url else None,
            clock=clock,
            max_fps=max_fps,
            gate_threshold=gate_threshold,
            token_drop=token_drop,
            compaction=compaction,
            metadata=metadata or {},
            masks=masks,
            keep_for_s=keep_for_s,
            starts_at=starts_at,
            name=name,
            description=description,
            labels=None if labels is None else list(labels),
        )
        return StreamObject.model_validate_json(
            await self._calls.text("POST", "/v1/streams", json=body)
        )

    async def streams(self, *labels: str) -> list[StreamObject]:
        """The open streams with all of these labels (the first page: as many as the server lists at
        once)."""
        params = {"label": list(labels)} if labels else {}
        reply = await self._calls.text("GET", "/v1/streams", params=params)
        return StreamList.model_validate_json(reply).data

    async def get_stream(self, stream_id: str) -> StreamObject:
        """The state of one stream now.

        Raises:
            NotFound: there is none of this name.
        """
        return StreamObject.model_validate_json(
            await self._calls.text("GET", f"/v1/streams/{stream_id}")
        )

    async def seen_until_s(self, stream_id: str) -> float:
        """Stream time up to which a stream has been seen; 0 where it does not exist yet."""
        try:
            return (await self.get_stream(stream_id)).seen_until_s or 0.0
        except NotFound:
            return 0.0

    async def close_stream(self, stream_id: str) -> None:
        """End a stream; all that was remembered of it is forgotten."""
        await self._calls.text("DELETE", f"/v1/streams/{stream_id}")

    async def set_masks(self, stream_id: str, masks: Sequence[MaskConfig]) -> StreamObject:
        """Have the server black out or blur parts of a stream's pictures from now on."""
        body = request_body(UpdateStreamRequest, masks=list(masks))
        reply = await self._calls.text("PATCH", f"/v1/streams/{stream_id}", json=body)
        return StreamObject.model_validate_json(reply)

    async def describe(
        self,
        stream_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        labels: Sequence[str] | None = None,
        reference: bytes | None = None,
    ) -> StreamObject:
        """Change what a stream is called, what is said of it, its labels, and the picture (JPEG,
        PNG or WebP) of how it usually looks. What is not given stays; an empty text, list or
        picture takes it away."""
        body: dict[str, Any] = given({"name": name, "description": description})
        if labels is not None:
            body["labels"] = list(labels)
        if reference is not None:
            body["reference"] = data_url(reference) if reference else None
        reply = await self._calls.text("PATCH", f"/v1/streams/{stream_id}", json=body)
        return StreamObject.model_validate_json(reply)

    async def set_keep_for(self, stream_id: str, keep_for_s: float | None) -> StreamObject:
        """Have the server keep nothing of a stream for longer; None: as long as it keeps
        anything."""
        body = {"keep_for_s": keep_for_s}
        reply = await self._calls.text("PATCH", f"/v1/streams/{stream_id}", json=body)
        return StreamObject.model_validate_json(reply)

    async def forget(
        self,
        stream_id: str,
        *,
        from_s: float | datetime | None = None,
        to_s: float | datetime | None = None,
    ) -> ForgetReply:
        """Delete what is remembered of a span of a stream's time, in every tier; the stream goes
        on. Times are seconds of stream time, or wall times for live streams. By default the span
        begins with the stream and ends now.

        Raises:
            InvalidRequest: the span is none, or the stream does not know its wall times.
            NotFound: there is none of this name.
        """
        span = given({"from": time_text(from_s), "to": time_text(to_s)})
        reply = await self._calls.text("DELETE", f"/v1/streams/{stream_id}/memory", params=span)
        return ForgetReply.model_validate_json(reply)

    async def survey(
        self,
        question: str,
        *,
        streams: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        deadline_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> SurveyReply:
        """Put one question to several streams: those that are named, those that have all of these
        labels, or all that are open. "Which camera sees the red car?" is answered by the cameras.

        Raises:
            InvalidRequest: no stream has the labels.
            TooLarge: more streams than the server asks at once.
        """
        body = request_body(
            SurveyRequest,
            question=question,
            streams=None if streams is None else list(streams),
            labels=None if labels is None else list(labels),
            deadline_s=deadline_s,
            max_output_tokens=max_output_tokens,
        )
        limit_s = self.options.answer_timeout_s
        reply = await self._calls.text("POST", "/v1/questions", json=body, timeout=limit_s)
        return SurveyReply.model_validate_json(reply)

    async def push_frame(self, stream_id: str, picture: bytes, *, at_s: float) -> FrameReply:
        """Send one JPEG, PNG or WebP picture over HTTP and learn what became of it."""
        reply = await self._calls.text(
            "POST",
            f"/v1/streams/{stream_id}/frames",
            content=picture,
            headers={
                "Content-Type": f"image/{guess_codec(picture).name.lower()}",
                "X-Capture-Time-S": repr(at_s),
            },
        )
        return FrameReply.model_validate_json(reply)

    async def ask(
        self,
        stream_id: str,
        question: str,
        *,
        at_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> AnswerReply:
        """Ask about a stream over HTTP, without joining it.

        Raises:
            OnlookerError: refused or failed, and why.
        """
        body = request_body(
            QuestionRequest, question=question, at_s=at_s, max_output_tokens=max_output_tokens
        )
        reply = AnswerReply.model_validate_json(
            await self._calls.text(
                "POST",
                f"/v1/streams/{stream_id}/questions",
                json=body,
                timeout=self.options.answer_timeout_s,
            )
        )
        if reply.status == "failed" and reply.error is not None:
            raise error_from(reply.error)
        return reply

    def pictures(self, stream_id: str) -> StreamPictures:
        """The pictures that the server keeps of a stream."""
        return StreamPictures(stream_id, partial(self._calls.reply, "GET"))

    def timeline(self, stream_id: str) -> StreamTimeline:
        """What the server's diary says of a stream."""
        return StreamTimeline(stream_id, partial(self._calls.reply, "GET"))

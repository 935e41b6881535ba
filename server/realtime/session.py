"""One realtime session: what a client's events and frames do. Knows nothing of sockets.

The connection calls `open` first, then `on_text` and `on_binary` one at a time in order of arrival,
`tick` now and then, and `close` last. What the session says goes to its outbox.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.requests import HTTPConnection

from onlooker.core.errors import (
    Conflict,
    InvalidRequest,
    NoRoom,
    NotFound,
    OnlookerError,
    OwnedElsewhere,
    ShuttingDown,
    TooLarge,
)
from onlooker.core.ids import new_id
from onlooker.core.media import Codec, EncodedFrame
from onlooker.core.protocol import PROTOCOL_VERSION
from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol import server_events as told
from onlooker.core.protocol.foreign_fields import SetAside
from onlooker.core.protocol.frame_header import MAX_SLOT, FrameHeader, unpack_frame
from onlooker.core.protocol.stream_objects import StreamObject, VideoSettings
from onlooker.core.token_bucket import TokenBucket
from onlooker.scheduler.slo import Tier
from onlooker.server.abilities import check_keeping
from onlooker.server.doors import EVENTS, FRAME_MESSAGE
from onlooker.server.errors import body_of
from onlooker.server.gateway import Gateway
from onlooker.server.nameplates import nameplate_changes
from onlooker.server.pictures import decode_base64
from onlooker.server.realtime.audio_calls import AudioCalls
from onlooker.server.realtime.conversation import Conversation
from onlooker.server.realtime.far_slot import ATTACHED
from onlooker.server.realtime.far_streams import FarStreams
from onlooker.server.realtime.item_calls import ItemCalls
from onlooker.server.realtime.outbox import Outbox
from onlooker.server.realtime.responses import Responses
from onlooker.server.realtime.session_stream import found_or_opened
from onlooker.server.realtime.slots import Slot
from onlooker.server.realtime.tools import session_trouble
from onlooker.server.realtime.watch_calls import WatchCalls
from onlooker.server.relay.finding import is_new
from onlooker.server.relay.placing import another_place, check_placed
from onlooker.server.rights import Action, Grant
from onlooker.server.text_limits import TextLimits
from onlooker.server.views import (
    CONNECTION_OWNER,
    capabilities,
    limits,
    mask_objects,
    masks_of,
    stream_object,
)
from onlooker.streams.nameplate import NO_CHANGES, NameplateChanges
from onlooker.streams.stream import Stream, StreamOptions
from onlooker.streams.tenants import TenantStreams

ERROR_BURST_S = 10.0
"""Seconds for which a connection may be faulty at its full error rate at once."""

OWN_SLOT = 0

_REST_HOLDS = "What else the session.update says, if anything, is in force"

_OF_THE_STREAM = {"masks", "keep_for_s", "name", "description", "labels"}
"""What of `input_video` belongs to the stream and can be changed at any time."""


class TooManyErrors(Exception):
    """The peer sends nothing but faults; its connection ends."""


class Session:
    """State of one connection: configuration, conversation, slots, answers under way."""

    def __init__(
        self,
        gateway: Gateway,
        streams: TenantStreams,
        grant: Grant,
        outbox: Outbox,
        tasks: asyncio.TaskGroup,
        *,
        connection: HTTPConnection,
        on_moved: Callable[[], None],
    ) -> None:
        """`streams`: the streams that the peer may see. `grant`: what the peer may do.
        `connection`: as it came in. `on_moved` is called when the session's own stream goes on at
        another server."""
        self.id = new_id("sess")
        self._gateway = gateway
        self._streams = streams
        self._grant = grant
        self._settings = gateway.settings.server
        self._json_limits = self._settings.json_limits
        self._outbox = outbox
        self._tasks = tasks
        self._connection, self._on_moved = connection, on_moved
        self._slots: dict[int, Slot] = {}
        self._far = FarStreams(
            gateway, connection, emit=outbox.put, spawn=self._spawn, attach=self._attach_to
        )
        self._owns_stream = False
        self._config = asked.SessionConfig()
        self._video = VideoSettings(clock=gateway.settings.streams.clock)
        self._conversation = Conversation(
            max_items=self._settings.max_items,
            max_bytes=self._settings.max_conversation_bytes,
            dialogue_turns=gateway.dialogue_turns,
            texts=TextLimits.of(self._settings),
            follow_ups=self._settings.follow_ups,
        )
        self.responses = Responses(gateway, self._conversation, emit=outbox.put, spawn=self._spawn)
        self._errors = TokenBucket(
            rate_per_s=self._settings.errors_per_s,
            burst=self._settings.errors_per_s * ERROR_BURST_S,
            clock=gateway.clock,
        )
        self._handlers: dict[type[asked.ClientEvent], Callable[[Any], Awaitable[None]]] = {
            asked.SessionUpdate: self._update,
            asked.FrameAppend: self._append_frame,
            asked.VideoAttach: self._attach,
            asked.VideoDetach: self._detach,
            asked.ResponseCreate: self._create_response,
            asked.ResponseCancel: self._cancel_response,
            asked.Ping: self._pong,
        }
        watches = WatchCalls(gateway.hub, grant, find=self._stream, emit=outbox.put)
        self._handlers |= watches.handlers
        items = ItemCalls(gateway, self._conversation, tenant=streams.tenant, emit=outbox.put)
        self._handlers |= items.handlers
        self._handlers |= AudioCalls(self._conversation, gateway.clock, emit=outbox.put).handlers
        self.is_draining = False
        """Whether the server shuts down: answers end, new ones are refused."""

    def open(self, stream: Stream, *, is_own: bool, after: int | None = None) -> None:
        """Say hello and follow the session's stream. `is_own`: the stream ends with the session.
        `after`: the number of the last of its events that the peer saw before."""
        self._owns_stream = is_own
        self._video.clock = "live" if stream.is_live else "virtual"
        self._outbox.put(told.SessionCreated(session=self._object(stream)))
        if ATTACHED in self._connection.query_params:  # it is a slot of a session elsewhere
            shown = stream_object(stream)
            self._outbox.put(told.StreamUpdated(stream=shown, reason="attached"))
        self._follow(OWN_SLOT, stream, after=after)

    async def close(self) -> None:
        """Let go of all slots; a stream of our own ends with us."""
        own = self._slots.get(OWN_SLOT)
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()
        for number in list(self._far.slots):
            await self._far.detach(number)
        if self._owns_stream and own is not None and own.stream.closed_reason is None:
            with suppress(NotFound):  # it went by itself, at the same moment
                await self._streams.close_stream(own.stream.name, "its connection ended")

    @property
    def is_answering(self) -> bool:
        """Whether an answer is under way."""
        return self.responses.is_busy or self._far.is_answering

    def tick(self) -> None:
        """Send the acknowledgements that have gathered."""
        for slot in self._slots.values():
            slot.flush()

    # ---- what comes in

    async def on_text(self, text: str) -> None:
        """Do what one text message asks; faults are answered with `error` events.

        Raises:
            TooManyErrors: the connection should end.
        """
        event: asked.AnyClientEvent | None = None
        try:
            event = await asked.read_client_event(text, self._json_limits)
            self._grant.require(EVENTS[event.type])
            if asked.is_additive(event.type):
                self._tell_all()
            if isinstance(event, asked.ResponseCreate):
                self._check_answer(event)
            if not await self._far.take(event, self._config, self._conversation):
                await self._handlers[type(event)](event)
        except asked.BadEvent as error:
            self._report(error, event_id=error.event_id)
        except OnlookerError as error:
            self._report(error, event_id=event.event_id if event is not None else None)

    async def on_binary(self, message: bytes) -> None:
        """Take a frame in. Raises as `on_text`."""
        try:
            self._grant.require(EVENTS[FRAME_MESSAGE])
            self._tell_all()
            header, payload = unpack_frame(message)
            await self._push(header.slot, self._frame(header, payload), is_last=header.last_frame)
        except OnlookerError as error:
            self._report(error)

    def take_frame(self, message: bytes, pace: TokenBucket) -> bool:
        """Take a frame in, where that needs no waiting; whether it was taken. Those that were not
        are for `on_binary`, faulty ones and those for which `pace` has no token among them.

        Raises: as `on_text`.
        """
        try:
            header, payload = unpack_frame(message)
        except OnlookerError:
            return False
        slot = self._slots.get(header.slot)
        is_plain = slot is not None and slot.stream.is_live and not header.last_frame
        if not is_plain or self.is_draining or not self._grant.may(EVENTS[FRAME_MESSAGE]):
            return False
        if header.slot in self._far.slots or not pace.try_take():
            return False
        assert slot is not None
        try:
            self._tell_all()
            slot.push_live(self._frame(header, payload))
        except OnlookerError as error:
            self._report(error)
        return True

    def _frame(self, header: FrameHeader, payload: bytes) -> EncodedFrame:
        return EncodedFrame(
            sequence=header.sequence,
            capture_s=header.capture_s,
            codec=header.codec,
            payload=payload,
            received_at_s=self._gateway.clock.now_s(),
        )

    def _report(self, error: OnlookerError, *, event_id: str | None = None) -> None:
        self._gateway.metrics.client_errors.labels(code=error.code).inc()
        self._outbox.put(told.ErrorEvent(error=body_of(error, event_id=event_id)))
        if not self._errors.try_take():
            raise TooManyErrors

    def _report_late(self, error: OnlookerError) -> None:
        """Report an error of a task that nobody awaits, without raising anything."""
        self._gateway.metrics.client_errors.labels(code=error.code).inc()
        self._outbox.put(told.ErrorEvent(error=body_of(error)))

    # ---- session

    async def _update(self, event: asked.SessionUpdate) -> None:
        changed = event.session
        if changed.model is not None:
            self._gateway.check_model(changed.model)
        TextLimits.of(self._settings).check_question(
            "", changed.instructions, param="session.instructions"
        )
        aside = changed.aside
        if aside.refused and changed.model_fields_set <= {"type"}:
            raise _refused(aside, "session")
        if changed.input_video is not None:
            self._tell_all()
            await self._update_video(changed.input_video)
        fields = {
            name: getattr(changed, name)
            for name in changed.model_fields_set - {"input_video", "model"}
        }
        self._config = self._config.model_copy(update=fields)
        trouble = session_trouble(self._config, self._gateway.hub.info, self._gateway.settings)
        if trouble is not None:
            self._config = self._config.model_copy(update={"tools": None, "tool_choice": None})
        self.responses.configure(self._config)
        turns = self._config.dialogue_turns
        self._conversation.dialogue_turns = self._gateway.dialogue_turns if turns is None else turns
        self._conversation.follow_ups = self._settings.reads_follow_ups(turns)
        stream = self._slot(OWN_SLOT).stream
        self._outbox.put(told.SessionUpdated(session=self._object(stream, ignored=aside.ignored)))
        self._warn(aside, "session", event.event_id)
        if aside.refused:
            raise _refused(aside, "session")
        if trouble is not None:
            raise InvalidRequest(
                f"{trouble.message}. {_REST_HOLDS}", param=f"session.{trouble.param}"
            )

    async def _update_video(self, changed: asked.InputVideoConfig) -> None:
        fields = changed.model_dump(exclude_none=True, exclude=_OF_THE_STREAM)
        ack_mode = fields.pop("ack", None)
        check_keeping(changed, self._gateway.hub.info, place="session.input_video.")
        stream_fields = {k: v for k, v in fields.items() if getattr(self._video, k) != v}
        if stream_fields:
            await self._reopen(stream_fields)
        self._video = self._video.model_copy(update=fields)
        await self._update_privacy(changed)
        await self._update_nameplate(changed)
        if ack_mode is not None:
            self._video.ack = ack_mode
            for slot in self._slots.values():
                slot.ack_mode = ack_mode
            for far in self._far.slots.values():
                await far.take_ack_mode(ack_mode)

    async def _update_privacy(self, changed: asked.InputVideoConfig) -> None:
        """Change what is masked of the session's stream, and how long it is kept. Whoever feeds the
        stream may, since the pictures are its own; a stream that another feeds takes more."""
        if changed.masks is None and changed.keep_for_s is None:
            return
        slot = self._slot(OWN_SLOT)
        is_own = self._owns_stream or slot.is_feeding or slot.stream.status().source is None
        self._grant.require(Action.MASK_OWN if is_own else Action.CHANGE_PRIVACY)
        if changed.keep_for_s is not None:
            await slot.stream.set_keep_for(changed.keep_for_s)
        if changed.masks is not None:
            await slot.stream.set_masks(masks_of(changed.masks))

    async def _update_nameplate(self, changed: asked.InputVideoConfig) -> None:
        """Change what the session's stream is called."""
        changes = nameplate_changes(changed)
        if changes != NO_CHANGES:
            self._grant.require(Action.DESCRIBE_STREAM)
            await self._slot(OWN_SLOT).stream.nameplate.change(changes)

    async def _reopen(self, fields: dict[str, Any]) -> None:
        """Give the own stream other options, which is possible until its first frame."""
        slot = self._slot(OWN_SLOT)
        name = next(iter(fields))
        if not self._owns_stream:
            raise Conflict(
                f"'{name}' belongs to the stream, and '{slot.stream.name}' was here before this "
                "connection; set it when the stream is created",
                param=f"session.input_video.{name}",
            )
        if slot.has_fed or slot.stream.status().received:
            raise Conflict(
                f"'{name}' can be set until the first frame, which has come",
                param=f"session.input_video.{name}",
            )
        settings = self._video.model_copy(update=fields)
        privacy, plate = slot.stream.privacy, slot.stream.nameplate.plate
        slot.close()
        name = slot.stream.name
        await self._streams.close_stream(name, "opened again with other settings")
        stream = await self._streams.open_stream(
            name,
            StreamOptions(
                clock=settings.clock,
                max_fps=settings.max_fps,
                gate_threshold=settings.gate_threshold,
                token_drop=settings.token_drop,
                compaction=settings.compaction,
                tier=Tier.named(settings.service_tier),
                persistent=False,
                masks=privacy.masks,
                keep_for_s=privacy.keep_for_s,
                nameplate=NameplateChanges(
                    name=plate.name, description=plate.description, labels=plate.labels
                ),
            ),
        )
        self._follow(OWN_SLOT, stream)

    async def _pong(self, event: asked.Ping) -> None:
        self._outbox.put(told.Pong())

    # ---- video

    async def _append_frame(self, event: asked.FrameAppend) -> None:
        slot = self._far.slots.get(event.slot) or self._slot(event.slot)
        payload = await decode_base64(event.frame, param="frame")
        if not payload:
            raise InvalidRequest("the frame is empty", param="frame")
        await self._push(
            event.slot,
            EncodedFrame(
                sequence=slot.next_sequence if event.sequence is None else event.sequence,
                capture_s=event.timestamp_ms / 1000,
                codec=Codec[event.codec.upper()],
                payload=payload,
                received_at_s=self._gateway.clock.now_s(),
            ),
            is_last=event.last,
        )

    async def _push(self, number: int, frame: EncodedFrame, *, is_last: bool) -> None:
        if self.is_draining and not self._gateway.goes_on_elsewhere:
            raise ShuttingDown("the server is shutting down and takes no more frames")
        slot = self._far.slots.get(number) or self._slot(number)
        await slot.push(frame, is_last=is_last)

    async def _attach(self, event: asked.VideoAttach) -> None:
        if event.slot in self._slots or event.slot in self._far.slots:
            raise Conflict(
                f"slot {event.slot} has a stream; detach it first (input_video.detach)",
                param="slot",
            )
        if len(self._slots) + len(self._far.slots) >= self._settings.max_slots:
            raise TooLarge(
                f"one connection may feed {self._settings.max_slots} streams (setting "
                "server.max_slots)",
                param="slot",
            )
        shown = await self._attach_to(event.slot, event.stream, None)
        self._outbox.put(told.VideoAttached(slot=event.slot, stream=shown))

    async def _attach_to(self, number: int, name: str, after: int | None) -> StreamObject:
        """Attach a stream to a slot, wherever it is or is to be opened; returns how it is."""
        gateway, connection = self._gateway, self._connection
        self._far.slots.pop(number, None)
        try:
            if self._grant.may(Action.OPEN_STREAM) and await is_new(gateway, self._streams, name):
                check_placed(gateway, connection, self._streams.tenant, name)
            stream = await found_or_opened(gateway, self._streams, name, self._grant)
        except OwnedElsewhere as owner:
            far: OwnedElsewhere = owner
        except (NoRoom, ShuttingDown) as refusal:
            far = another_place(gateway, connection, refusal, self._streams.tenant, name)
        else:
            self._follow(number, stream, after=after)
            return stream_object(stream)
        if (shown := await self._far.open(number, name, far, after)) is not None:
            if self._video.ack != VideoSettings().ack:
                await self._far.slots[number].take_ack_mode(self._video.ack)
            return shown
        stream = await found_or_opened(gateway, self._streams, name, self._grant)
        self._follow(number, stream, after=after)
        return stream_object(stream)

    def _move(self, number: int) -> None:
        """A stream goes on at another server: go there too."""
        slot = self._slots[number]
        if number == OWN_SLOT or self.is_draining:
            self._on_moved()
        else:
            slot.close()
            del self._slots[number]
            self._far.again(number, slot.stream.name, slot.stream.last_event)

    async def _detach(self, event: asked.VideoDetach) -> None:
        if event.slot in self._far.slots:
            name = await self._far.detach(event.slot)
            self._outbox.put(told.VideoDetached(slot=event.slot, stream=name))
            return
        slot = self._slot(event.slot)
        await slot.settled()
        slot.close()
        del self._slots[event.slot]
        self._outbox.put(told.VideoDetached(slot=event.slot, stream=slot.stream.name))

    def _follow(self, number: int, stream: Stream, *, after: int | None = None) -> None:
        slot = Slot(
            number,
            stream,
            grant=self._grant,
            owner=f"{CONNECTION_OWNER}{self.id}",
            emit=self._outbox.put,
            report=self._report_late,
            on_moved=partial(self._move, number),
            spawn=self._spawn,
            clock=self._gateway.clock,
            ack_mode=self._video.ack,
            max_listed_acks=self._settings.max_listed_acks,
            after=after,
        )
        self._slots[number] = slot
        self._spawn(slot.follow())

    def _slot(self, number: int) -> Slot:
        if number not in self._slots:
            raise NotFound(
                f"slot {number} has no stream; attach one with input_video.attach "
                f"(slots 1 to {MAX_SLOT}; 0 is the session's own)",
                param="slot",
            )
        return self._slots[number]

    # ---- answers

    def _check_answer(self, event: asked.ResponseCreate) -> None:
        if self.is_draining:
            raise ShuttingDown(
                "the server is shutting down and takes no more questions; connect again"
            )
        aside = event.response.aside
        if aside.refused:
            raise _refused(aside, "response")
        self._warn(aside, "response", event.event_id)

    async def _create_response(self, event: asked.ResponseCreate) -> None:
        stream = self._stream(event.response.stream)
        for slot in self._slots.values():
            if slot.stream is stream:
                await slot.settled()  # virtual clock: what was sent before counts as seen
        self.responses.create(event.response, stream)

    async def _cancel_response(self, event: asked.ResponseCancel) -> None:
        await self.responses.cancel(event.response_id)

    # ---- inside

    def _tell_all(self) -> None:
        """From now on, tell what OpenAI has no event for, too: the peer speaks of video."""
        if not self._outbox.tells_all:
            self._outbox.tells_all = True
            for slot in self._slots.values():
                slot.tell_pace()

    def _warn(self, aside: SetAside, place: str, caused_by: str | None) -> None:
        """Tell what of an event was passed over."""
        if aside.ignored:
            params = [f"{place}.{name}" for name in aside.ignored]
            message = SetAside.told(aside.ignored, place)
            warning = told.SessionWarning(params=params, message=message, caused_by=caused_by)
            self._outbox.put(warning)

    def _stream(self, name: str | None) -> Stream:
        """The stream of this name; None: the session's own."""
        return self._slot(OWN_SLOT).stream if name is None else self._streams.get(name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return self._tasks.create_task(work)

    def _object(self, stream: Stream, *, ignored: Iterable[str] = ()) -> told.SessionObject:
        gateway, privacy = self._gateway, stream.privacy
        choice = self._config.tool_choice or "auto"
        self._video.masks = mask_objects(privacy.masks)
        self._video.keep_for_s = privacy.keep_for_s
        plate = stream.nameplate.plate
        self._video.name, self._video.description = plate.name, plate.description
        self._video.labels = list(plate.labels)
        return told.SessionObject(
            id=self.id,
            model=gateway.hub.info.model,
            stream=stream.name,
            instructions=self._config.instructions,
            max_output_tokens=self._config.max_output_tokens
            or self._settings.default_output_tokens,
            tools=[tool.model_dump(exclude_none=True) for tool in self._config.tools or ()],
            tool_choice=choice if isinstance(choice, str) else choice.model_dump(),
            parallel_tool_calls=self._config.parallel_tool_calls is not False,
            dialogue_turns=self._conversation.dialogue_turns,
            input_video=self._video,
            ignored=list(ignored),
            capabilities=capabilities(
                gateway.hub.info, gateway.hub.guarantee, protocol_version=PROTOCOL_VERSION
            ),
            limits=limits(gateway.settings),
        )


def _refused(aside: SetAside, place: str) -> InvalidRequest:
    """The error that names what of an object was refused."""
    param = f"{place}.{next(iter(aside.refused))}"
    message = SetAside.told(aside.refused, place)
    if place == "session":
        message += f". {_REST_HOLDS}"
    return InvalidRequest(message, param=param)

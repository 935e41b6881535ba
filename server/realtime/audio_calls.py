"""Sound over the WebSocket: none is taken or given, and each event about it gets a clear answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.errors import ClientError
from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol.answer_events import InputAudioCleared, OutputAudioCleared
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.realtime.conversation import Conversation

REMINDER_S = 10.0
"""Seconds between two errors that tell a connection that its sound is not taken. A microphone sends
twenty pieces a second; were each an error, the connection would end for them."""


class NoAudio(ClientError):
    """Sound was sent or asked for."""

    code = "audio_not_supported"


class AudioCalls:
    """What clients of OpenAI's say of sound."""

    def __init__(
        self,
        conversation: Conversation,
        clock: Clock,
        *,
        emit: Callable[[ServerEvent], None],
    ) -> None:
        self._conversation = conversation
        self._clock = clock
        self._emit = emit
        self._reminded_at_s: float | None = None
        self.handlers: Mapping[type[asked.ClientEvent], Callable[[Any], Awaitable[None]]] = {
            asked.InputAudioAppend: self._append,
            asked.InputAudioCommit: self._commit,
            asked.InputAudioClear: self._clear_input,
            asked.OutputAudioClear: self._clear_output,
            asked.ItemTruncate: self._truncate,
        }

    async def _append(self, event: asked.InputAudioAppend) -> None:
        now_s = self._clock.now_s()
        if self._reminded_at_s is not None and now_s - self._reminded_at_s < REMINDER_S:
            return
        self._reminded_at_s = now_s
        raise NoAudio(
            "sound is not heard: this and what follows of it is dropped. Send questions as text "
            "(conversation.item.create with input_text)",
            param="audio",
        )

    async def _commit(self, event: asked.InputAudioCommit) -> None:
        raise NoAudio(
            "there is no sound to make a question of, since none is heard. Send the question as "
            "text (conversation.item.create with input_text)"
        )

    async def _clear_input(self, event: asked.InputAudioClear) -> None:
        self._emit(InputAudioCleared())

    async def _clear_output(self, event: asked.OutputAudioClear) -> None:
        self._emit(OutputAudioCleared())

    async def _truncate(self, event: asked.ItemTruncate) -> None:
        self._conversation.get(event.item_id)
        raise NoAudio(
            "answers are text, and what was sent of one is kept; to end a running one send "
            "response.cancel",
            param="item_id",
        )

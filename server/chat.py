"""Reads a chat completion's messages as one question: which stream, what was said before."""

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.ids import is_stream_id
from onlooker.core.protocol.http import (
    ChatImagePart,
    ChatMessage,
    ChatRequest,
    ChatVideoPart,
)
from onlooker.engine.interface import Question, Turn
from onlooker.scheduler.slo import Tier
from onlooker.server.config import Settings
from onlooker.server.pictures import Inquiry

STREAM_SCHEME = "stream://"

_TIERS = {"priority": Tier.INTERACTIVE, "flex": Tier.BACKGROUND}
"""OpenAI's names of service tiers; the others leave the choice to the stream."""


def read_chat(
    request: ChatRequest, settings: Settings, *, max_tokens: int, dialogue_turns: int
) -> tuple[Inquiry, str | None]:
    """Read the messages; return the question, and the name of the stream that is asked (None where
    only pictures are). `dialogue_turns`: how many earlier turns it brings along where the request
    does not say.

    Raises:
        InvalidRequest: no question, two streams, or an address of another kind.
        TooLarge: too many words or pictures.
    """
    system: list[str] = []
    turns: list[Turn] = []
    pending: list[str] = []
    images: list[str] = []
    streams: list[str] = []
    for index, message in enumerate(request.messages):
        if message.role in ("system", "developer"):
            system.append(message.text)
        elif message.role == "assistant":
            if pending:
                turns.append(Turn("\n".join(pending), message.text, 0.0))
            pending, images = [], []
        else:
            if message.text:
                pending.append(message.text)
            _collect(message, index, images, streams)
    text, instructions = "\n".join(pending).strip(), "\n".join(system) or None
    if not text:
        raise InvalidRequest(
            "the last message should be a user's, with the question as text", param="messages"
        )
    if len(set(streams)) > 1:
        raise InvalidRequest("one question is about one stream", param="messages")
    _check_size(text, instructions, images, settings)
    kept = dialogue_turns if request.dialogue_turns is None else request.dialogue_turns
    question = Question(
        text=text,
        dialogue=tuple(turns[-kept:]) if kept else (),
        instructions=instructions,
        max_tokens=max_tokens,
        temperature=request.temperature or 0.0,
        seed=request.seed,
        tier=_TIERS.get(request.service_tier or "auto"),
    )
    return Inquiry(question, tuple(images)), streams[0] if streams else None


def _collect(message: ChatMessage, index: int, images: list[str], streams: list[str]) -> None:
    for number, part in enumerate(message.parts):
        if isinstance(part, ChatImagePart):
            images.append(part.image_url.url)
        elif isinstance(part, ChatVideoPart):
            url = part.video_url.url
            stream_id = url.removeprefix(STREAM_SCHEME)
            if not url.startswith(STREAM_SCHEME) or not is_stream_id(stream_id):
                raise InvalidRequest(
                    "a video_url names a stream of this server: stream://ID. To ask about a file "
                    "or a camera, open a stream with a source first (POST /v1/streams)",
                    param=f"messages.{index}.content.{number}.video_url.url",
                )
            streams.append(stream_id)


def _check_size(text: str, instructions: str | None, images: list[str], settings: Settings) -> None:
    max_chars, max_images = settings.server.max_text_chars, settings.engine.max_question_images
    if len(text) + len(instructions or "") > max_chars:
        raise TooLarge(
            f"question and instructions may have {max_chars} characters (setting "
            "server.max_text_chars)",
            param="messages",
        )
    if len(images) > max_images:
        raise TooLarge(f"a question may bring {max_images} pictures along", param="messages")

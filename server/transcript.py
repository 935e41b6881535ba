"""The messages of one HTTP request, read as one question with what was said before it.

Chat completions and responses spell messages differently; each door turns its own into `Line`s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.ids import is_stream_id
from onlooker.engine.functions import CallMade, FunctionCall
from onlooker.engine.interface import Question, Turn
from onlooker.server.config import Settings
from onlooker.server.follow_ups import dialogue_of, understood
from onlooker.server.pictures import Inquiry
from onlooker.server.text_limits import TextLimits

STREAM_SCHEME = "stream://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was said, shown, called or found out."""

    role: Literal["system", "user", "assistant", "result"]
    text: str = ""
    """What was said; of a result, what came of the call."""
    images: tuple[str, ...] = ()
    """Pictures as data URLs."""
    streams: tuple[str, ...] = ()
    """Names of streams that are asked."""
    calls: tuple[FunctionCall, ...] = ()
    """Functions that an assistant called."""
    call_id: str = ""
    """The call whose result this is."""

    @property
    def num_bytes(self) -> int:
        """About how many bytes of memory the line holds."""
        words = sum(len(call.name) + len(call.arguments) for call in self.calls)
        return 300 + len(self.text) + sum(map(len, self.images)) + words


def split_url(url: str, *, param: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an address in a message is: pictures, and streams; one of the two has one entry.

    Raises:
        InvalidRequest: it begins like a stream's and is none.
    """
    if not url.startswith(STREAM_SCHEME):
        return (url,), ()
    return (), (stream_named(url, param=param),)


def stream_named(url: str, *, param: str) -> str:
    """The stream that an address of the form ``stream://ID`` names. Raises `InvalidRequest`."""
    stream_id = url.removeprefix(STREAM_SCHEME)
    if not url.startswith(STREAM_SCHEME) or not is_stream_id(stream_id):
        raise InvalidRequest(
            "a stream of this server is named stream://ID. To ask about a file or a camera, open a "
            "stream with a source first (POST /v1/streams)",
            param=param,
        )
    return stream_id


def read_lines(
    lines: Sequence[Line],
    question: Question,
    settings: Settings,
    *,
    dialogue_turns: int,
    follow_ups: bool,
    param: str,
) -> tuple[Inquiry, str | None]:
    """Complete `question`, which says how to answer, by what was said; return it, and the name of
    the stream that is asked (None where only pictures are). `dialogue_turns`: how many of the
    earlier turns it brings along. `follow_ups`: whether it is read by them where it leans on them.
    `param` names the messages in errors.

    Raises:
        InvalidRequest: no question, two streams, or a result of a call that nobody made.
        TooLarge: too many words or pictures.
    """
    system: list[str] = [question.instructions] if question.instructions else []
    turns: list[Turn] = []
    asked: list[str] = []
    images: list[str] = []
    called: dict[str, FunctionCall] = {}
    made: list[CallMade] = []
    for line in lines:
        if line.role == "system":
            system.append(line.text)
        elif line.role == "user":
            asked += [line.text] if line.text else []
            images += line.images
        elif line.role == "result":
            if line.call_id not in called:
                raise InvalidRequest(
                    f"there is no call '{line.call_id[:80]}' before its result", param=param
                )
            made.append(CallMade(called[line.call_id], line.text))
        elif line.calls:
            called |= {call.id: call for call in line.calls}
        else:
            if asked:
                turns.append(Turn("\n".join(asked), line.text, 0.0))
            asked, images, made = [], [], []
    text, instructions = "\n".join(asked).strip(), "\n".join(system) or None
    if not text:
        raise InvalidRequest(
            "the last message should be a user's, with the question as text", param=param
        )
    streams = {stream for line in lines for stream in line.streams}
    if len(streams) > 1:
        raise InvalidRequest("one question is about one stream", param=param)
    whole = replace(
        question,
        text=text,
        dialogue=dialogue_of(turns, dialogue_turns),
        instructions=instructions,
        made=tuple(made),
    )
    _check_size(whole, images, settings, param=param)
    if follow_ups and not images:  # with a picture it leans on that
        whole = understood(whole, turns)
    return Inquiry(whole, tuple(images)), next(iter(streams), None)


def worth_keeping(lines: Sequence[Line], *, max_turns: int) -> tuple[Line, ...]:
    """What a later question may need of the lines before it: the last turns and what waits for an
    answer, the streams, and no picture that was asked about already."""
    answers = [i for i, line in enumerate(lines) if line.role == "assistant" and not line.calls]
    begin = answers[-max_turns - 1] + 1 if len(answers) > max_turns else 0
    last = answers[-1] if answers else -1
    kept = [
        replace(line, images=() if index < last else line.images)
        for index, line in enumerate(lines)
        if index >= begin or line.role == "system"
    ]
    streams = next((line.streams for line in reversed(lines) if line.streams), ())
    if streams and not any(line.streams for line in kept):
        kept.insert(0, Line(role="user", streams=streams))
    return tuple(kept)


def _check_size(
    question: Question, images: Sequence[str], settings: Settings, *, param: str
) -> None:
    TextLimits.of(settings.server).check_question(
        question.text, question.instructions, question.made, param=param
    )
    max_images = settings.engine.max_question_images
    if len(images) > max_images:
        raise TooLarge(f"a question may bring {max_images} pictures along", param=param)

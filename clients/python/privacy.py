"""`onlooker forget` and masks on the command line, as text."""

from datetime import datetime

from pydantic import ValidationError

from onlooker.core.errors import InvalidRequest
from onlooker.core.protocol.client_events import explain_validation
from onlooker.core.protocol.http import ForgetReply
from onlooker.core.protocol.stream_objects import MaskConfig

MASK_HELP = (
    'A part of the picture that nobody is to see: its corners in shares of width and height, "0,0 '
    '0.5,0 0.5,1 0,1". It is blacked out, or with "blur:" before them blurred. Repeat the option '
    "for more."
)
TIME_HELP = "Seconds of stream time, or a wall time such as 2026-05-01T12:30:00Z"


def read_mask(text: str) -> MaskConfig:
    """The mask that a text such as ``blur:0,0 0.5,0 0.5,1`` means. Raises `InvalidRequest`."""
    effect, colon, corners = text.rpartition(":")
    try:
        polygon = [tuple(map(float, corner.split(","))) for corner in corners.split()]
        return MaskConfig.model_validate(
            {"polygon": polygon, "effect": effect if colon else "black"}
        )
    except ValidationError as error:
        message = explain_validation(error)[0]
    except ValueError:
        message = "corners are two numbers with a comma between them, and blanks between corners"
    raise InvalidRequest(f"'{text}' is no mask: {message}", param="mask")


def read_time(text: str | None) -> float | datetime | None:
    """The time that a text means. Raises `InvalidRequest`."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"'{text}' is no time: give {TIME_HELP.lower()}") from None


def told(reply: ForgetReply) -> str:
    """What was deleted, in a sentence or two."""
    text = (
        f"Deleted of '{reply.stream}', from {reply.from_s:g} to {reply.to_s:g} s: {reply.clips} "
        f"clips, {reply.notes} notes, {reply.alerts} alerts and {reply.journal_frames} pictures in "
        f"the journal, {reply.bytes / 1e6:.1f} MB."
    )
    if reply.pending_in:
        text += (
            f" Could not be reached now and is deleted later: {', '.join(reply.pending_in)} "
            "(nothing of it is shown any more)."
        )
    return text

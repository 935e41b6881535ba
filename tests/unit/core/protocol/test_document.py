"""docs/protocol.md names what the code has, and nothing else."""

import re
from pathlib import Path

from onlooker.core.media import Codec, DropReason
from onlooker.core.protocol.client_events import CLIENT_EVENT_TYPES
from onlooker.core.protocol.server_events import SERVER_EVENT_TYPES

TEXT = (Path(__file__).resolve().parents[4] / "docs" / "protocol.md").read_text()
EVENT = re.compile(
    r"`((?:session|conversation|response|input_video|input_audio_buffer|output_audio_buffer|stream|error|ping|pong)(?:\.[a-z_]+)*)`"
)
NOT_EVENTS = {"session", "stream", "input_video"}


def named() -> set[str]:
    """Event types in the text; a short form such as ``.done`` after a full one is spelt out."""
    spelt = re.sub(
        r"`([a-z_.]+)\.([a-z_]+)`((?:, `\.[a-z_]+`)+)",
        lambda m: f"`{m[1]}.{m[2]}`" + re.sub(r"`\.([a-z_]+)`", rf"`{m[1]}.\1`", m[3]),
        TEXT,
    )
    return set(EVENT.findall(spelt))


def test_every_event_is_documented() -> None:
    assert {*CLIENT_EVENT_TYPES, *SERVER_EVENT_TYPES} - named() == set()


def test_no_event_is_documented_that_does_not_exist() -> None:
    assert named() - {*CLIENT_EVENT_TYPES, *SERVER_EVENT_TYPES} - NOT_EVENTS == set()


def test_codecs_and_reasons_are_documented() -> None:
    for codec in Codec:
        assert f"{codec.value} " in TEXT
        assert f"`{codec.name.lower()}`" in TEXT
    for reason in DropReason:
        assert f"`{reason.value}`" in TEXT

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from onlooker.core.protocol import server_events
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.core.protocol.server_events import (
    SERVER_EVENT_TYPES,
    Pong,
    UnknownEvent,
    VideoAck,
    parse_server_event,
)
from onlooker.core.protocol.surveys import SurveyDone, SurveyPartDone, SurveyStarted


def test_every_class_is_in_the_union() -> None:
    union = set(get_args(get_args(server_events.AnyServerEvent)[0]))
    of_calls = {SurveyStarted, SurveyPartDone, SurveyDone}  # told to who made the call alone
    assert union == set(ServerEvent.__subclasses__()) - {UnknownEvent} - of_calls
    assert len(SERVER_EVENT_TYPES) == len(union)


def test_what_is_sent_is_read_back() -> None:
    ack = VideoAck(slot=1, stream="s", kept=[1, 2], event_id="e", sequence_number=7)
    assert parse_server_event(ack.model_dump_json()) == ack


def test_events_and_fields_of_a_newer_server_are_passed_by() -> None:
    assert isinstance(parse_server_event('{"type": "alert.raised", "x": 1}'), UnknownEvent)
    assert isinstance(parse_server_event('{"type": "pong", "mood": "good"}'), Pong)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"type": "input_video.ack"}'])
def test_what_is_no_event_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_server_event(text)
    assert isinstance(refused.value, ValidationError | ValueError)


def test_lists_are_not_shared_between_events() -> None:
    first, second = VideoAck(slot=0, stream="a"), VideoAck(slot=0, stream="b")
    first.kept.append(1)
    assert second.kept == []


def test_numbers_are_json_s() -> None:
    found: dict[str, Any] = json.loads(VideoAck(slot=0, stream="a", lag_s=0.5).model_dump_json())
    assert found["lag_s"] == 0.5

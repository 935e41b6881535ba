import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.core.protocol import client_events
from onlooker.core.protocol.client_events import (
    CLIENT_EVENT_TYPES,
    BadEvent,
    ClientEvent,
    ResponseCreate,
    SessionUpdate,
    parse_client_event,
    quote,
)


def parse(**fields: Any) -> ClientEvent:
    return parse_client_event(json.dumps(fields))


def test_every_class_of_the_union_is_a_known_type() -> None:
    union = get_args(get_args(client_events.AnyClientEvent)[0])
    types = {get_args(event.model_fields["type"].annotation)[0] for event in union}
    assert types == set(CLIENT_EVENT_TYPES)
    assert set(ClientEvent.__subclasses__()) == set(union)


def test_absent_fields_take_their_defaults() -> None:
    event = parse(type="response.create")
    assert isinstance(event, ResponseCreate)
    assert event.response.conversation is None


def test_what_was_set_can_be_told_from_what_was_not() -> None:
    event = parse(type="session.update", session={"type": "realtime", "instructions": None})
    assert isinstance(event, SessionUpdate)
    assert event.session.model_fields_set == {"type", "instructions"}


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("", "invalid_json", None),
        ("[1]", "invalid_json", None),
        ("7", "invalid_json", None),
        ('{"type":null}', "invalid_request", "type"),
        ('{"type":"x.y"}', "unknown_event", "type"),
        ('{"type":"ping","a":1}', "invalid_request", "a"),
        ('{"type":"conversation.item.delete"}', "invalid_request", "item_id"),
        ('{"type":"response.create","response":{"max_output_tokens":0}}', "invalid_request", None),
        (
            '{"type":"conversation.item.create","item":{"role":"user","content":[]}}',
            "invalid_request",
            "item.content",
        ),
        (
            '{"type":"conversation.item.create","item":{"role":"system","content":'
            '[{"type":"input_image","image_url":"data:x"}]}}',
            "invalid_request",
            "item",
        ),
    ],
)
def test_a_fault_names_its_code_and_field(text: str, code: str, param: str | None) -> None:
    with pytest.raises(BadEvent) as refused:
        parse_client_event(text)
    assert refused.value.code == code
    if param is not None:
        assert refused.value.param == param


def test_a_fault_carries_the_client_s_own_name() -> None:
    with pytest.raises(BadEvent) as refused:
        parse(type="nope", event_id="mine")
    assert refused.value.event_id == "mine"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.text(max_size=60))
def test_any_text_is_an_event_or_a_bad_one(text: str) -> None:
    with pytest.raises(BadEvent):
        parse_client_event(text)


@given(
    st.sampled_from(CLIENT_EVENT_TYPES),
    st.dictionaries(
        st.sampled_from(["session", "item", "response", "frame", "slot", "stream", "item_id"]),
        json_values,
    ),
)
def test_any_fields_are_taken_or_refused_with_a_short_reason(
    event_type: str, fields: dict[str, Any]
) -> None:
    message = ""
    try:
        parse_client_event(json.dumps({"type": event_type, **fields}))
    except BadEvent as error:
        message = error.message
    assert len(message) < 500


def test_a_client_s_own_words_are_shortened() -> None:
    assert quote("x" * 80) == "x" * 80
    assert len(quote("x" * 81)) == 80

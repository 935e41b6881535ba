"""Any bytes on the socket: an error or accepted, never a crash, and nobody else notices."""

import asyncio
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onlooker.core.protocol.client_events import CLIENT_EVENT_TYPES
from tests.fakes.served import Served, frame_message, jpeg, next_event, send, serving

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner,
                                                                 max_size=3),
    max_leaves=8,
)  # fmt: skip
_fields = st.sampled_from(
    ["session", "item", "response", "frame", "codec", "timestamp_ms", "slot", "stream", "item_id",
     "event_id", "response_id", "previous_item_id"]
)  # fmt: skip
_events = st.builds(
    lambda kind, fields: json.dumps({**fields, "type": kind}),
    st.sampled_from(CLIENT_EVENT_TYPES) | st.text(max_size=12),
    st.dictionaries(_fields, _json, max_size=4),
)
_frames = st.builds(
    lambda head, payload: b"OL\x01" + head + payload, st.binary(max_size=20), st.binary(max_size=64)
)
_messages = st.lists(
    st.text(max_size=40) | _events | st.binary(max_size=80) | _frames, min_size=1, max_size=12
)


def test_any_messages_get_errors_or_are_accepted_and_never_crash_the_connection() -> None:
    with asyncio.Runner() as runner:
        stack = serving(server__errors_per_s=1e6)
        served = runner.run(stack.__aenter__())
        try:

            @settings(
                max_examples=150, suppress_health_check=list(HealthCheck),
                derandomize=True,
            )  # fmt: skip
            @given(_messages)
            def anything(messages: list[str | bytes]) -> None:
                runner.run(exchange(served, messages))

            anything()
            assert served.metric("onlooker_connections_total", outcome="internal_error") == 0
        finally:
            runner.run(stack.__aexit__(None, None, None))


async def exchange(served: Served, messages: list[str | bytes]) -> None:
    """Send anything; then the connection must still answer a ping."""
    async with served.ws() as ws:
        await ws.send(frame_message(jpeg()))
        for message in messages:
            await ws.send(message)
        await send(ws, "ping", event_id="last")
        await next_event(ws, "pong")

"""Which call of which door is which action. A call that is not listed here is refused to everybody.

A few calls do more, depending on what they carry, and need a second right where that shows: a
stream with a source or an import from an address (`Action.PULL_SOURCE`), masks and retention of a
stream (`Action.CHANGE_PRIVACY`), a watch with a webhook (`Action.HAVE_WEBHOOK`), the usage of
another tenant (`Action.READ_ALL_USAGE`), and a connection or a WebRTC session that names a stream
which is not open yet (`Action.OPEN_STREAM`).
"""

from collections.abc import Mapping

from onlooker.server.rights import Action

ROUTES: Mapping[str, Action] = {
    "GET /v1/models": Action.LIST_MODELS,
    "GET /v1/models/{model}": Action.LIST_MODELS,
    "POST /v1/streams": Action.OPEN_STREAM,
    "GET /v1/streams": Action.LIST_STREAMS,
    "GET /v1/streams/{stream_id}": Action.INSPECT_STREAM,
    "PATCH /v1/streams/{stream_id}": Action.DESCRIBE_STREAM,
    "DELETE /v1/streams/{stream_id}": Action.CLOSE_STREAM,
    "DELETE /v1/streams/{stream_id}/memory": Action.FORGET_MEMORY,
    "GET /v1/streams/{stream_id}/timeline": Action.READ_DIARY,
    "GET /v1/streams/{stream_id}/pictures": Action.SEE_PICTURES,
    "GET /v1/streams/{stream_id}/picture": Action.SEE_PICTURES,
    "GET /v1/streams/{stream_id}/strip": Action.SEE_PICTURES,
    "GET /v1/streams/{stream_id}/clips": Action.SEE_PICTURES,
    "GET /v1/streams/{stream_id}/reference": Action.SEE_PICTURES,
    "POST /v1/streams/{stream_id}/frames": Action.PUSH_FRAME,
    "POST /v1/streams/{stream_id}/imports": Action.IMPORT_RECORDING,
    "GET /v1/streams/{stream_id}/imports": Action.INSPECT_STREAM,
    "GET /v1/streams/{stream_id}/imports/{import_id}": Action.INSPECT_STREAM,
    "DELETE /v1/streams/{stream_id}/imports/{import_id}": Action.IMPORT_RECORDING,
    "POST /v1/streams/{stream_id}/questions": Action.ASK,
    "GET /v1/streams/{stream_id}/events": Action.LISTEN,
    "GET /v1/streams/{stream_id}/alerts": Action.LIST_ALERTS,
    "GET /v1/alerts": Action.LIST_ALERTS,
    "POST /v1/streams/{stream_id}/watches": Action.MAKE_WATCH,
    "GET /v1/streams/{stream_id}/watches": Action.LIST_WATCHES,
    "GET /v1/streams/{stream_id}/watches/{watch_id}": Action.LIST_WATCHES,
    "PATCH /v1/streams/{stream_id}/watches/{watch_id}": Action.CHANGE_WATCH,
    "DELETE /v1/streams/{stream_id}/watches/{watch_id}": Action.DELETE_WATCH,
    "POST /v1/watches": Action.MAKE_WATCH,
    "GET /v1/watches": Action.LIST_WATCHES,
    "GET /v1/watches/{order_id}": Action.LIST_WATCHES,
    "PATCH /v1/watches/{order_id}": Action.CHANGE_WATCH,
    "DELETE /v1/watches/{order_id}": Action.DELETE_WATCH,
    "POST /v1/whip/{stream_id}": Action.PUSH_FRAME,
    "PATCH /v1/whip/{stream_id}/{session_id}": Action.PUSH_FRAME,
    "DELETE /v1/whip/{stream_id}/{session_id}": Action.PUSH_FRAME,
    "POST /v1/questions": Action.ASK,
    "POST /v1/chat/completions": Action.ASK,
    "POST /v1/responses": Action.ASK,
    "GET /v1/responses/{response_id}": Action.CONVERSE,
    "DELETE /v1/responses/{response_id}": Action.CONVERSE,
    "POST /v1/realtime/client_secrets": Action.MINT_TOKEN,
    "POST /mcp": Action.CONNECT,
    "GET /metrics": Action.READ_METRICS,
    "GET /v1/usage": Action.READ_USAGE,
    "GET /v1/servers": Action.LIST_SERVERS,
    "POST /v1/servers/self/drain": Action.DRAIN_SERVER,
    "DELETE /v1/servers/self/drain": Action.DRAIN_SERVER,
}
"""HTTP calls. `/metrics` asks for a key only where the settings say so."""

_WHIP_PATHS = ("/v1/whip/{stream_id}", "/v1/whip/{stream_id}/{session_id}")

REFUSED_ROUTES = frozenset(
    {
        *(f"{method} {path}" for method in ("GET", "HEAD", "PUT") for path in _WHIP_PATHS),
        *(f"{method} /mcp" for method in ("GET", "HEAD", "PUT", "DELETE")),
    }
)
"""HTTP calls that are refused whoever makes them; the refusal says what there is instead."""

PUBLIC_ROUTES = frozenset(
    {
        "GET /healthz",
        "GET /readyz",
        *(f"OPTIONS {path}" for path in _WHIP_PATHS),
        *REFUSED_ROUTES,
    }
)
"""HTTP calls that ask nobody for a key."""

FRAME_MESSAGE = "binary message"

EVENTS: Mapping[str, Action] = {
    FRAME_MESSAGE: Action.PUSH_FRAME,
    "session.update": Action.CONNECT,
    "ping": Action.CONNECT,
    "input_video.frame.append": Action.PUSH_FRAME,
    "input_video.attach": Action.ATTACH_STREAM,
    "input_video.detach": Action.ATTACH_STREAM,
    "conversation.item.create": Action.CONVERSE,
    "conversation.item.retrieve": Action.CONVERSE,
    "conversation.item.delete": Action.CONVERSE,
    "conversation.item.truncate": Action.CONVERSE,
    "input_audio_buffer.append": Action.CONVERSE,
    "input_audio_buffer.commit": Action.CONVERSE,
    "input_audio_buffer.clear": Action.CONVERSE,
    "output_audio_buffer.clear": Action.CONVERSE,
    "response.create": Action.ASK,
    "response.cancel": Action.ASK,
    "stream.watch.create": Action.MAKE_WATCH,
    "stream.watch.update": Action.CHANGE_WATCH,
    "stream.watch.delete": Action.DELETE_WATCH,
    "stream.watch.list": Action.LIST_WATCHES,
}
"""What clients send over the WebSocket. Connecting itself is `Action.CONNECT`, hearing what happens
on a stream `Action.LISTEN`."""

TOOLS: Mapping[str, Action] = {
    "list_streams": Action.LIST_STREAMS,
    "ask": Action.ASK,
    "find_moments": Action.ASK,
    "timeline": Action.READ_DIARY,
    "get_picture": Action.SEE_PICTURES,
    "watch": Action.MAKE_WATCH,
    "alerts": Action.LIST_ALERTS,
    "open_source": Action.PULL_SOURCE,
}
"""Tools of MCP. They are checked by the HTTP calls that they make; opening a source takes
`Action.OPEN_STREAM` too. Connecting is `Action.CONNECT`, listening for changes `Action.LISTEN`."""

"""The words of the wire, as pydantic models: what a client may send and what the server answers.

`frame_header` is the binary one; `client_events` and `server_events` are the WebSocket's JSON;
`http` is the rest. The prose is `docs/protocol.md`; a test keeps the two in step.
"""

PROTOCOL_VERSION = 1
"""Raised when something that a client may rely on is taken away or changes its meaning."""

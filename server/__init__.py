"""The gateway: WebSocket, HTTP and server-sent events in front of the engine."""

"""One WebSocket: what its client says, in events and frames, and what it is told."""

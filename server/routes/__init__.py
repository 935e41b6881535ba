"""HTTP and WebSocket routes, one file each."""

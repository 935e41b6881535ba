"""The `Engine` seam with its two implementations, its supervisor, and stream memory."""

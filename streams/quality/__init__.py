"""Quality: how each stream is served under load, and what its source is asked to send."""

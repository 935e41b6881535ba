"""Streams: from frames that come in to clips, answers and events."""

"""Perception: from encoded messages to clips."""

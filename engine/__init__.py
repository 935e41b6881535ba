"""Perception, stream memory, triggers and the engine seam with its two implementations."""

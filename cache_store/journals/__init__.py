"""The implementations of `FrameJournal`."""

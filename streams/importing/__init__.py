"""Recordings that the server imports by itself, in the background, at their own times."""

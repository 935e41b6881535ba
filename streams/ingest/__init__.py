"""Ingest: one stream's way from a message that came in to a clip that the model has seen."""

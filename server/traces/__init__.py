"""Traces: their settings, and how spans reach a collector. The only room that knows of OTLP."""

"""Benchmarks of the field, put to a server through its own API."""

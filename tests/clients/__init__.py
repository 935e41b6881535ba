"""Clients that others wrote, against a real server on loopback with scripted answers."""

"""Several gateway processes on one port in front of one engine core."""

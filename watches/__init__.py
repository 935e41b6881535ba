"""Watches: standing questions to a stream, and the alerts that they raise."""

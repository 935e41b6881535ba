"""Recordings: decoded a part a process, in processes that can be killed, at their own times."""

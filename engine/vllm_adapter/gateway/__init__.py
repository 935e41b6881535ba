"""The server's process: engines, prompts and what becomes of their answers."""

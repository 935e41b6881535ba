"""The diary: what the model writes down while it watches, and summaries of it."""

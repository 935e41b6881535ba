"""A server under long use, whose Redis and engine fail again and again."""

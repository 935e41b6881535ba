"""Decoding: foreign pictures and video, in processes that can be killed, under a budget."""

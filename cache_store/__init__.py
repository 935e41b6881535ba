"""Bytes and keys: where the KV of segments rests when the device does not hold it.

Knows numpy and files and Redis; knows nothing of models, vLLM or event loops.
"""

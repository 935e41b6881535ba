"""Onlooker watches live video with a video language model and answers while it watches."""

__version__ = "0.1.0"

"""Attacks on a server of our own, and the honest tenant whose delays they are judged by."""

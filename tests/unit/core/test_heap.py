"""Memory that was freed goes back to the system."""

import os
import subprocess
import sys

import pytest

from onlooker.benchmarks.cpu import process_rss_bytes
from onlooker.core.heap import give_back_memory

NUM, NUM_BYTES = 4000, 20_000
"""Blocks that are too small to be the system's own, and together far above what varies."""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library gives back by itself")
def test_what_was_freed_between_what_is_kept_is_given_back() -> None:
    blocks = [bytes(NUM_BYTES) for _ in range(NUM)]
    held = process_rss_bytes(os.getpid())
    del blocks[::2], blocks[-1:]  # every second one stays, so that nothing is free at the end
    give_back_memory()
    assert process_rss_bytes(os.getpid()) < held - NUM * NUM_BYTES // 4


COUNT_FAULTS = """
import resource, sys
from onlooker.core.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory(64 << 20)
def work():
    for _ in range(50):
        pieces = [bytearray(1 << 20) for _ in range(4)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""The pages that a process takes anew which needs the same pieces of memory again and again."""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library does as it likes")
def test_what_is_kept_is_not_taken_anew() -> None:
    returned, kept = (
        int(subprocess.check_output([sys.executable, "-c", COUNT_FAULTS, how]))
        for how in ("returned", "kept")
    )
    assert kept < returned / 10

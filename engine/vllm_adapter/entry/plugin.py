"""vLLM's plug-in entry point: runs in every process that vLLM starts."""

import multiprocessing
import multiprocessing.connection
import os
import threading

from onlooker.engine.vllm_adapter.families import GUARDED

MODELS = "onlooker.engine.vllm_adapter.entry.models"
"""The module that has the guarded classes."""


def register() -> None:
    """Tell vLLM about our model classes; imports none of them yet. vLLM may call this twice."""
    if multiprocessing.parent_process() is not None and not _is_watching():
        threading.Thread(target=_end_with_parent, name=_WATCH, daemon=True).start()
    from vllm import ModelRegistry

    for name in GUARDED:
        ModelRegistry.register_model(name, f"{MODELS}:{name}")


_WATCH = "end-with-parent"


def _is_watching() -> bool:
    return any(thread.name == _WATCH for thread in threading.enumerate())


def _end_with_parent() -> None:
    """End this process when its parent has ended. A process of an engine whose server was killed
    would hold its memory and the store's folder for ever, so that no other server could go on with
    the streams. What it had to write is in the journal."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)

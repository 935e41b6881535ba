"""vLLM's plug-in entry point: runs in every process that vLLM starts."""

import multiprocessing
import multiprocessing.connection
import os
import threading

ARCHITECTURES = {
    "OnlookerQwen3VL": "onlooker.engine.vllm_adapter.entry.models:GuardedQwen3VL",
    "OnlookerQwen25VL": "onlooker.engine.vllm_adapter.entry.models:GuardedQwen25VL",
}
"""Model classes by the architecture name under which segment mode asks for them."""


def register() -> None:
    """Tell vLLM about our model classes; imports none of them yet. vLLM may call this twice."""
    if multiprocessing.parent_process() is not None and not _is_watching():
        threading.Thread(target=_end_with_parent, name=_WATCH, daemon=True).start()
    from vllm import ModelRegistry

    for name, path in ARCHITECTURES.items():
        ModelRegistry.register_model(name, path)


_WATCH = "end-with-parent"


def _is_watching() -> bool:
    return any(thread.name == _WATCH for thread in threading.enumerate())


def _end_with_parent() -> None:
    """A process of an engine whose server was killed holds its memory and the store's folder for
    ever, so that no other server can go on with the streams. What it had to write is in the
    journal."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)

"""vLLM's log lines in the server's form, in every process that vLLM starts.

vLLM reads `vllm_logging.json` when one of its processes begins, before its plug-ins are loaded, and
that file names the function here.
"""

import logging
import multiprocessing
import os

from onlooker.core.log import configure_logging_as_parent


def make_handler() -> logging.Handler:
    """Have this process write lines as the server does. The handler returned does nothing: what
    vLLM writes goes on to the one that is there for all."""
    if multiprocessing.parent_process() is not None:
        configure_logging_as_parent()
    logging.getLogger("vllm").setLevel(os.environ.get("VLLM_LOGGING_LEVEL", "ERROR").upper())
    return logging.NullHandler()

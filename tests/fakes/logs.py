"""Logging as it was before, after a test that configures it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from onlooker.core.log import ENV_LOG_FORM


@contextmanager
def logging_restored() -> Iterator[None]:
    """Whatever is configured inside of the block holds only there."""
    loggers = [logging.getLogger(name) for name in ("", "onlooker", "vllm", "uvicorn")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    form = os.environ.pop(ENV_LOG_FORM, None)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
        os.environ.pop(ENV_LOG_FORM, None)
        if form is not None:
            os.environ[ENV_LOG_FORM] = form

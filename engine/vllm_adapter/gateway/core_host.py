"""Runs the engine core of several gateways, in a process of its own.

It holds no stream and no port: it loads the model as a gateway alone would, makes as many seats as
it is told, and ends when the core does, or when nobody is at the other end of its link.
"""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from onlooker.core.errors import OnlookerError
from onlooker.engine.config import VllmSection
from onlooker.engine.shared_core import CORE_IS_UP, CoreSeat
from onlooker.engine.vllm_adapter import seams
from onlooker.engine.vllm_adapter.gateway import boot
from onlooker.engine.vllm_adapter.gateway.resend_engine import ResendEngine
from onlooker.engine.vllm_adapter.gateway.runner import SHUTDOWN_TIMEOUT_S
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine


def host_core(
    engine: SegmentEngine | ResendEngine,
    settings: VllmSection,
    seats: Sequence[CoreSeat],
    *,
    num_gateways: int,
    link: Connection,
) -> None:
    """Run a core until it dies, or until `link` is closed at the other end. Says on the link how
    the start went: `CORE_IS_UP`, or why the core does not start. This process is to hear no
    signals: whoever closes the link says when it is to stop, which is after its gateways have."""
    with ExitStack() as stack:
        try:
            ends = stack.enter_context(_running(engine, settings, seats, num_gateways))
        except OnlookerError as error:
            link.send(error.message)
            return
        link.send(CORE_IS_UP)
        wait([link, *ends])
    # The interpreter looks through all that was ever loaded before it goes, which takes seconds.
    gc.freeze()


@contextmanager
def _running(
    engine: SegmentEngine | ResendEngine,
    settings: VllmSection,
    seats: Sequence[CoreSeat],
    num_gateways: int,
) -> Iterator[Any]:
    """A core that takes work, while the block runs; gives what its end is waited for by."""
    recipe = asyncio.run(engine.recipe())
    boot.prepare(settings, recipe)
    with ExitStack() as stack:
        try:
            with boot.launching(settings):
                config = boot.make_config(settings, recipe, num_gateways)
                core = seams.shared_core(config, seats, timeout_s=SHUTDOWN_TIMEOUT_S)
                ends = stack.enter_context(core)
        except OnlookerError:
            raise
        except Exception as error:
            raise boot.refusal(recipe.model, error) from error
        yield ends

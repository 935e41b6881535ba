"""Holds the model's pause back in vLLM's older model runner.

That runner keeps a row of logits for each request of a step, and moves rows when requests end and
join. vLLM's class follows the rows; here is which rule a request has.
"""

from typing import Any

from onlooker.engine.vllm_adapter.seams import LogitsProcessorByRows
from onlooker.engine.vllm_adapter.wire import read_pause
from onlooker.engine.vllm_adapter.worker.held_pause import HeldPause


class PauseByRows(LogitsProcessorByRows):
    """Holds back the pause of those requests that have a rule for it."""

    def is_argmax_invariant(self) -> bool:
        """Whether greedy requests could do without, which they cannot."""
        return False

    def new_req_logits_processor(self, params: Any) -> HeldPause | None:
        """The rule of a new request; None where it has none."""
        rule = read_pause(params.extra_args)
        return None if rule is None else HeldPause(rule)

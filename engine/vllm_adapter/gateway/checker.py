"""`Checker`: checks as forks of a stream's newest clips, of which nothing is kept.

The clips' KV is placed from the arena and only the question is computed. (To continue the blocks of
the growing context instead would save the placing, a twentieth of what a check costs, and show the
model another number of clips each time.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onlooker.core.errors import EngineFailed
from onlooker.core.ids import new_id
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import Check, CheckResult
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.vllm_adapter.gateway import sampling
from onlooker.engine.vllm_adapter.gateway.checks import answer_tokens, check_result, count_check
from onlooker.engine.vllm_adapter.gateway.features import engine_input
from onlooker.engine.vllm_adapter.gateway.memories import StreamMemories
from onlooker.engine.vllm_adapter.gateway.prompts import CheckTokens, SegmentPrompts
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner
from onlooker.engine.vllm_adapter.wire import read_report

MAX_WORDED = 1024
"""Checks whose words are kept as tokens: a watch asks the same again and again."""


@dataclass(frozen=True, slots=True)
class _Worded:
    """The part of a check that is the same for every clip."""

    tokens: CheckTokens
    groups: list[list[int]]
    """Token ids with which each of the check's answers may begin; see `answer_tokens`."""


class Checker:
    """Runs the checks of all streams; they share vLLM's steps with everything else."""

    def __init__(
        self,
        runner: VllmRunner,
        prompts: SegmentPrompts,
        streams: StreamMemories,
        metrics: Metrics,
    ) -> None:
        self._runner, self._prompts, self._streams = runner, prompts, streams
        self._metrics = metrics
        self._worded: dict[object, _Worded] = {}

    async def check(
        self, check: Check, clips: Sequence[RememberedClip] | None = None
    ) -> CheckResult:
        """See `onlooker.engine.interface.Engine.check`. `clips`: what is shown in place of the
        newest."""
        memory = self._streams[check.stream_id]
        worded = self._words(check)
        try:
            with memory.reading():
                builder = await self._prompts.checking(memory, check, worded.tokens, clips)
                prompt = builder.build()
                plan = replace(prompt.plan, reads_heads=check.reads_heads)
                options = sampling.for_check(check, worded.groups, plan=plan)
                output = await self._runner.last_output(
                    engine_input(prompt), options, new_id("check")
                )
            result = check_result(output, check, worded.groups, worded.tokens.given)
        except EngineFailed:
            await self._streams.forget_missing(memory)
            raise
        assert result is not None, "only clips and the system prompt are loaded"
        if check.reads_heads:
            result = replace(result, heads=read_report(output.kv_transfer_params).heads)
            if not result.heads:
                raise EngineFailed("the model's heads were not read: its step ran as one graph")
        count_check(self._metrics, result)
        return result

    def _words(self, check: Check) -> _Worded:
        # A reply that is scored is not asked for again.
        key = None if check.given else (check.text, check.instructions, check.answers)
        found = self._worded.get(key)
        if found is None:
            groups = answer_tokens(self._runner.tokenizer, check)
            found = _Worded(self._prompts.words(check), groups)
            if key is not None:
                if len(self._worded) >= MAX_WORDED:
                    self._worded.clear()
                self._worded[key] = found
        return found

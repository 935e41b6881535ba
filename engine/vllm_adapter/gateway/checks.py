"""What vLLM says to a check: one token, whose alternatives are read, or a given reply scored.

The log probabilities of named first tokens come with the one token that is generated. A given reply
is scored in the same forward pass that computes the question, as log probabilities of the prompt.
vLLM then refuses cached and loaded KV, unless told not to: the positions that were loaded come back
as uninitialised memory (so they must not be turned into text either), those that were computed are
right. Only the reply's own positions are read, and only when all of them were computed.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onlooker.core.errors import EngineFailed
from onlooker.core.metrics import Metrics
from onlooker.engine.checks import Check, CheckResult, log_sum

_NOWHERE = -math.inf


def answer_tokens(tokenizer: Any, check: Check) -> list[list[int]]:
    """The first token of every spelling of each of the check's answers.

    Spellings that begin with the same token as another answer's say nothing and are left out, and
    so are those that the tokenizer has no word for.
    """
    unknown = getattr(tokenizer, "unk_token_id", None)
    groups = []
    for spellings in check.answers:
        encoded = [tokenizer.encode(text, add_special_tokens=False) for text in spellings]
        groups.append(sorted({ids[0] for ids in encoded if ids and ids[0] != unknown}))
    shared = {
        token
        for index, group in enumerate(groups)
        for token in group
        if any(token in other for other in groups[:index] + groups[index + 1 :])
    }
    return [[token for token in group if token not in shared] for group in groups]


def check_result(
    output: Any, check: Check, groups: Sequence[Sequence[int]], given_ids: Sequence[int]
) -> CheckResult | None:
    """Read a finished request; None when part of a given reply was not computed.

    Raises:
        EngineFailed: the request ended in error (for instance a stored segment was missing).
    """
    completion = output.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        raise EngineFailed(f"a check ended with '{completion.finish_reason}'")
    num_prompt = len(output.prompt_token_ids or ())
    num_cached = output.num_cached_tokens or 0
    counted = CheckResult(num_prompt_tokens=num_prompt, num_cached_tokens=num_cached)
    if check.given is not None:
        first = num_prompt - len(given_ids)
        if list(output.prompt_token_ids[first:]) != list(given_ids):
            raise EngineFailed("the reply to be scored does not stand at the end of its prompt")
        if num_cached >= first:
            return None
        found = [output.prompt_logprobs[first + i][t].logprob for i, t in enumerate(given_ids)]
        return replace(counted, perplexity=math.exp(-sum(found) / len(found)))
    (step,) = completion.logprobs
    chosen = completion.token_ids[0]
    return replace(
        counted,
        logprobs=tuple(
            log_sum([step[token].logprob if token in step else _NOWHERE for token in group])
            for group in groups
        ),
        best=step[chosen].logprob,
        best_answer=next((i for i, group in enumerate(groups) if chosen in group), None),
    )


def count_check(metrics: Metrics, result: CheckResult) -> None:
    """Add one check to the token counters."""
    computed = result.num_prompt_tokens - result.num_cached_tokens
    metrics.tokens.labels("check", "computed").inc(computed)
    metrics.tokens.labels("check", "cached").inc(result.num_cached_tokens)
    metrics.tokens.labels("check", "generated").inc(1)

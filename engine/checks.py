"""A check: one cheap look at a stream's newest context that leaves no trace.

The engine runs it as a fork: it loads or resends what it has, computes the question, reads how the
reply would begin, and keeps nothing. Many checks asked for at the same moment share its steps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onlooker.core.ids import StreamId
from onlooker.engine.care import NO_CARE, Care


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked about the newest clips."""

    stream_id: StreamId
    text: str
    """The question, as the model is to read it."""
    asked_s: float
    """Stream time at which the check is asked, in seconds; nothing that was captured later is
    seen."""
    answers: tuple[tuple[str, ...], ...] = ()
    """Answers whose probability as the first word is wanted; each in all its spellings."""
    given: str | None = None
    """A whole reply whose perplexity is wanted. Then `answers` is empty."""
    reads_heads: bool = False
    """Whether the scores of the model's own heads are wanted, at the end of the question. Only an
    engine whose `EngineInfo.score_heads` names some takes this."""
    instructions: str | None = None
    """System prompt; None takes the engine's own."""
    decides: bool = False
    """Whether the check decides for a watch whether to speak: it runs on the decider, where there
    is one."""
    num_clips: int = 4
    """Newest clips in view. Resend mode shows its whole window, which its cache holds."""
    care: Care = NO_CARE
    """How the check is to be served: class and deadlines."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the model would say, as natural logarithms of probabilities."""

    logprobs: tuple[float, ...] = ()
    """Log probability of each of the check's answers, all its spellings together; -inf for an
    answer that the model has no word for."""
    best: float = -math.inf
    """Log probability of the likeliest first token."""
    best_answer: int | None = None
    """Index of the answer to which the likeliest first token belongs; None where it belongs to
    none."""
    perplexity: float | None = None
    """Perplexity of `Check.given`, which is exp of the mean negative log probability of its tokens;
    None where no reply was given."""
    heads: Mapping[str, float] = field(default_factory=dict)
    """Scores (0-1) of the model's own heads, by name, where the check asked for them."""
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    """Tokens of the prompt whose KV was loaded or found, and not computed."""


def log_sum(values: Sequence[float]) -> float:
    """Logarithm of the sum of the exponentials of `values`; -inf where there are none."""
    finite = [value for value in values if value > -math.inf]
    if not finite:
        return -math.inf
    largest = max(finite)
    return largest + math.log(sum(math.exp(value - largest) for value in finite))

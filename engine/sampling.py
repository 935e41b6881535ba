"""How the words of an answer are chosen, and what is told of the choice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the words of an answer are chosen."""

    temperature: float = 0.0
    """0 takes the likeliest words."""
    top_p: float = 1.0
    """Only the likeliest words are chosen from, those that together have this probability."""
    presence_penalty: float = 0.0
    """How much less likely words become that the answer has already."""
    frequency_penalty: float = 0.0
    """The same, for each time that the answer has them."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    ignores_end: bool = False
    """Whether the answer goes on to its limit of tokens, whatever the model would rather do: for
    benchmarks, whose answers should be equally long."""
    num_alternatives: int | None = None
    """How many of the likeliest tokens are told for each token of the answer; None tells no
    probabilities at all."""


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class TokenChance:
    """A token of an answer and how likely it was."""

    text: str
    logprob: float
    """Natural logarithm of its probability."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at its place, with the logarithms of their probabilities."""

"""How the words of an answer are chosen, and what is told of the choice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PauseRamp:
    """How likely the model's pause has to be before an answer may have it.

    A model that comments on a video second by second may be trained to end each piece with a pause:
    a mark of its own, such as `` ...``, which says that more follows. The mark is held back while
    its probability is not above a bar that is raised, or lowered, with each token of the answer.
    """

    threshold: float
    """The bar for the first token, as a probability."""
    step: float
    """What is added to the bar with each token that the answer has."""

    def bar(self, num_tokens: int) -> float:
        """What the probability of the pause must exceed behind so many tokens."""
        return self.threshold + self.step * num_tokens


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
    pause_ramp: PauseRamp | None = None
    """When the answer may have the model's pause; None: whenever that is the likeliest token. Only
    for a model whose `Wording.pause` says what its pause is."""


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class TokenChance:
    """A token of an answer and how likely it was."""

    text: str
    logprob: float
    """Natural logarithm of its probability."""
    alternatives: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at its place, with the logarithms of their probabilities."""

"""Selection: from scores to the clips that are shown.

Fixed k takes the best. Mass (as adaptive retrieval does, V-Rex for one) takes the smallest set
whose probability, by a softmax over all candidates, reaches a bound: a question with one clear
match brings back one clip. A slot of a prompt cannot be left empty or masked, so in one pass what
mass does not need is filled with the newest candidates: they stand next to the recent window and
make it a little longer, which is the least that can be mistaken for evidence.
"""

import math
from dataclasses import dataclass, field

import torch

MIN_DEVIATION = 1e-6
"""The least deviation by which scores are divided."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Scores of candidates: of all, or of the best of many."""

    places: torch.Tensor
    """Places of those that have a score, [ranked] int64, ascending."""
    scores: torch.Tensor
    """Their scores, [ranked] float32."""
    num_others: int = 0
    """Candidates without a score, none of which is among the best."""
    sampled_others: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """Scores of some of the others, by which all are judged."""
    num_compared: int = 0
    """Vectors that were compared to find the best; 0: all candidates."""

    @classmethod
    def of(cls, scores: torch.Tensor) -> "Ranked":
        """All candidates, by their scores."""
        return cls(torch.arange(len(scores)), scores)

    def __len__(self) -> int:
        return len(self.places)

    def before(self, place: int) -> "Ranked":
        """Only those at places before this one. The others all are."""
        is_before = self.places < place
        return Ranked(
            self.places[is_before], self.scores[is_before], self.num_others, self.sampled_others
        )

    def best(self, count: int, *, mass: float | None, temperature: float) -> list[int]:
        """Places of the best, ascending: at most `count`, at least one."""
        chosen = best(
            self.scores,
            count,
            mass=mass,
            temperature=temperature,
            log_others=self._log_others(temperature) if mass is not None else -math.inf,
        )
        places: list[int] = self.places[chosen].tolist()
        return places

    def _log_others(self, temperature: float) -> float:
        """Logarithm of the sum of the others' exponentials; as many as those that were sampled
        stand for."""
        if not self.num_others or not len(self.sampled_others):
            return -math.inf
        total = torch.logsumexp(self.sampled_others.double() / temperature, 0)
        return float(total) + math.log(self.num_others / len(self.sampled_others))


def best(
    scores: torch.Tensor,
    count: int,
    *,
    mass: float | None,
    temperature: float,
    log_others: float = -math.inf,
) -> list[int]:
    """Places of the best `scores`, ascending: at most `count`, at least one.

    Args:
        log_others: logarithm of the sum of exponentials of scores, divided by the temperature, that
            are not among `scores` and share the probability with them.
    """
    count = min(count, len(scores))
    top = torch.topk(scores, count)
    if mass is not None:
        logits = scores.double() / temperature
        total = torch.logsumexp(torch.cat([logits, logits.new_tensor([log_others])]), 0)
        shares = (logits[top.indices] - total).exp().cumsum(0)
        # As many as it takes for the sum to reach the mass: one more than stay below it.
        count = min(count, int((shares < mass).sum()) + 1)
    chosen: list[int] = top.indices[:count].sort().values.tolist()
    return chosen


def filled(chosen: list[int], num_candidates: int, num_slots: int) -> list[int]:
    """`chosen` and as many of the newest candidates as it takes to fill the slots, ascending."""
    found = set(chosen)
    for place in range(num_candidates - 1, -1, -1):
        if len(found) >= num_slots:
            break
        found.add(place)
    return sorted(found)


def standardised(scores: torch.Tensor, scale: tuple[float, float] | None = None) -> torch.Tensor:
    """`scores` moved and scaled to mean 0 and deviation 1, so that layers of different scale have
    an equal vote.

    Args:
        scale: mean and deviation of the scores, where a sample of them tells; None: their own.
    """
    if scale is not None:
        return (scores - scale[0]) / scale[1]
    return (scores - scores.mean()) / scores.std(correction=0).clamp(min=MIN_DEVIATION)

"""Selection: from scores to the clips that are shown.

Fixed k takes the best. Mass (as adaptive retrieval does, V-Rex for one) takes the smallest set
whose probability, by a softmax over all candidates, reaches a bound: a question with one clear
match brings back one clip. A slot of a prompt cannot be left empty or masked, so in one pass what
mass does not need is filled with the newest candidates: they stand next to the recent window and
make it a little longer, which is the least that can be mistaken for evidence.
"""

import torch


def best(scores: torch.Tensor, count: int, *, mass: float | None, temperature: float) -> list[int]:
    """Places of the best `scores`, ascending: at most `count`, at least one."""
    count = min(count, len(scores))
    top = torch.topk(scores, count)
    if mass is not None:
        shares = torch.softmax(scores.double() / temperature, 0)[top.indices].cumsum(0)
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


def standardised(scores: torch.Tensor) -> torch.Tensor:
    """`scores` moved and scaled to mean 0 and deviation 1, so that layers of different scale have
    an equal vote."""
    return (scores - scores.mean()) / scores.std(correction=0).clamp(min=1e-6)

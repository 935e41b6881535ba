"""The largest load that holds a promise, found with few trials."""

from collections.abc import Awaitable, Callable

FIRST_GROWTH = 1.25
"""The factor by which the load grows while every trial held; the start is already a prediction."""

SHRINKAGE = 1.5

NEARNESS = 16
"""The search ends when what holds and what does not are closer than one part in so many."""


async def most(
    holds: Callable[[int], Awaitable[bool]], start: int, limit: int, *, most_trials: int
) -> int:
    """The largest number up to `limit` that holds, as far as `most_trials` find out; 0 if none.

    Grows from `start` while that holds, else shrinks until it does; then halves what is between.
    """
    good, bad, number, num_trials = 0, limit + 1, min(start, limit), 0
    while num_trials < most_trials and good < limit:
        if bad <= limit and bad - good <= max(1, good // NEARNESS):
            break
        num_trials += 1
        if await holds(number):
            good = number
        else:
            bad = number
        if bad > limit:
            number = min(limit, max(good + 1, int(good * FIRST_GROWTH)))
        elif not good:
            number = max(1, int(bad / SHRINKAGE))
            if number == bad:
                return 0
        else:
            number = (good + bad) // 2
    return good

"""Questions about the drawn world whose truth does not hang on which frames were picked.

The model sees about two pictures a second, and which ones is the server's choice. A question is
asked only if every choice gives the same true answer, so that a reply can be marked fairly.
"""

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onlooker.demo_model.questions import DrawnClip, DrawnQuestion
    from onlooker.demo_model.world import World

FAMILIES = (
    "now_color",
    "now_shape",
    "now_place",
    "now_count",
    "now_digit",
    "now_moving",
    "now_exists",
    "now_list",
    "at_time_color",
    "at_time_shape",
    "at_time_digit",
    "unknown",
)
HISTORY_S = 20
"""How far back questions reach, which is well within what the model is shown."""
SHIFTS_S = (0.0, -0.5, -0.9, 0.1)
"""A question is asked only if clips shifted by each of these times give the same answer."""
TRIES = 40


class Quiz:
    """An endless row of questions about one world; the same for the same seed."""

    def __init__(self, world: "World", seed: int) -> None:
        self._world = world
        self._rng = random.Random(seed)  # noqa: S311 - which question, not a secret

    def next(self, now_s: float) -> "DrawnQuestion | None":
        """A question that can be asked at world time `now_s`; None when too much is going on."""
        from onlooker.demo_model.questions import ask, draw_family

        families = FAMILIES if now_s > 5 else tuple(f for f in FAMILIES if f.startswith("now"))
        for _ in range(TRIES):
            family = draw_family(self._rng, families)
            seed = self._rng.getrandbits(32)
            asked = [
                ask(self._world, _clips(now_s, shift), now_s + 1.0, random.Random(seed), family)  # noqa: S311
                for shift in SHIFTS_S
            ]
            first = asked[0]
            if first is not None and all(
                q is not None and (q.text, q.all_accepted) == (first.text, first.all_accepted)
                for q in asked
            ):
                return first
        return None

    @staticmethod
    def is_right(question: "DrawnQuestion", reply: str) -> bool:
        """Whether a reply answers the question truly."""
        from onlooker.demo_model.questions import correct

        return correct(question, reply)


def _clips(now_s: float, shift_s: float) -> "list[DrawnClip]":
    from onlooker.demo_model.questions import DrawnClip

    newest_s = now_s + shift_s
    count = int(min(HISTORY_S, max(newest_s - 0.5, 0.0))) + 1
    ends = [newest_s - age for age in range(count)]
    return [
        DrawnClip(end_s - 0.25, (max(0.0, end_s - 0.5), max(0.0, end_s)))
        for end_s in reversed(ends)
    ]

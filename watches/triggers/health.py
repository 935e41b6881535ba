"""Speak when a camera's view gets into trouble. No model is asked."""

import re

from onlooker.core.media import Clip, ViewTrouble
from onlooker.watches.triggers.interface import Decision, Rule, Score, Signals, Silent, Speak

_WORDS = {
    ViewTrouble.BLACK: r"black|(?:too |completely |totally )?dark",
    ViewTrouble.BLOCKED: r"blocked|covered(?: up)?|obstructed|obscured",
    ViewTrouble.FROZEN: r"frozen|stuck|hanging|freezes",
    ViewTrouble.BLURRED: r"blurred|blurry|unsharp|out of focus",
    ViewTrouble.MOVED: r"moved|turned(?: away)?|shifted|displaced",
}
_ANY = "|".join(_WORDS.values())
_SUBJECT = r"(?:camera|webcam|lens|view|picture|image)(?:'s (?:view|lens|picture|image))?"
_ABOUT = re.compile(
    r"(?:please )?(?:(?:tell|alert|warn|notify) me )?(?:when |if |whenever )?"
    rf"(?:the |my |this |a )?{_SUBJECT} "
    r"(?:is |gets |goes |becomes |was |has been |has )?(?:being )?"
    rf"(?:{_ANY})(?:(?:,| or|, or) (?:is |gets |was )?(?:{_ANY}))*[.!]?",
    re.IGNORECASE,
)


def troubles_in(condition: str) -> frozenset[ViewTrouble]:
    """The troubles that a condition names which is about a camera's view and nothing else, such as
    "the camera is blocked"; empty for any other."""
    text = " ".join(condition.split())
    if not _ABOUT.fullmatch(text):
        return frozenset()
    return frozenset(
        trouble
        for trouble, words in _WORDS.items()
        if re.search(rf"\b(?:{words})\b", text, re.IGNORECASE)
    )


class HealthTrigger(Rule):
    """Speaks when one of these troubles begins, as each clip tells of the view.

    Args:
        while_true: whether it speaks about every clip while there is trouble.
    """

    def __init__(self, troubles: frozenset[ViewTrouble], *, while_true: bool = False) -> None:
        self._troubles, self._while_true = troubles, while_true

    def go_on(self, is_on: bool) -> None:
        """ViewTrouble that an earlier server has told of is not told again."""
        self.is_on = is_on

    async def on_clip(self, clip: Clip, signals: Signals, score: Score) -> Decision:
        was_on, self.is_on = self.is_on, clip.trouble in self._troubles
        if self.is_on and (self._while_true or not was_on):
            is_plain = len(self._troubles) == 1  # the condition says which it is
            return Speak() if is_plain else Speak(text=f"the camera's view is {clip.trouble}")
        return Silent()

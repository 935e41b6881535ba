"""How a model wants to be asked on behalf of a watch.

Every model understands some forms of a yes/no question better than others. `Wording` holds the
forms of the served one; a model folder says them in its ``onlooker.json`` (section ``watching``),
and the defaults suit a general vision-language model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from pydantic import Field

NumClips = Annotated[int, Field(ge=1, le=256)]

_ASKS_TO_BE_TOLD = re.compile(
    r"^\s*(?:please[,\s]+|can you\s+|could you\s+)*"
    r"(?:(?:tell|alert|notify|warn|inform|remind)\s+(?:me|us)|let\s+(?:me|us)\s+know|"
    r"send\s+(?:me|us)\s+(?:an?\s+)?(?:alert|message|note)|speak\s+up|shout)\s*"
    r"(?:when(?:ever)?|if|as\s+soon\s+as|once|every\s+time|each\s+time|that)?\s+(?=\S)|"
    r"^\s*(?:when(?:ever)?|if|as\s+soon\s+as|once)\s+(?=\S)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What must have changed in the picture for a question to be worth asking: everything that is
    set here, or the whole scene."""

    cut: bool = False
    """Whether nothing less than another scene suffices."""
    color: str | None = None
    """Words among which colours are named: the share of the picture that has one of these colours
    must have changed. ``{1}`` stands for a group, as in a rule's question. Colours without a usual
    name are not known, and other words do no harm."""
    region: tuple[float, float, float, float] | None = None
    """The part of the picture in which something must have changed: left, top, right and bottom as
    shares (0-1) of the picture."""


@dataclass(frozen=True, slots=True)
class WordingRule:
    """One form of condition, and the question that asks for it."""

    pattern: str
    """Regular expression for the whole condition, without "tell me when" and full stop."""
    question: str
    """The question; ``{1}`` stands for the first group of the pattern, and so on."""
    about_event: bool = True
    """Whether the question asks what has just happened, rather than how things are."""
    threshold: float | None = None
    """Calibrated probability of yes from which the answer is yes; None takes
    `Wording.threshold`."""
    needs: Needs | None = None
    """What must have changed before the model is asked; where it is set it takes the place of
    `Wording.gates_by_silence`."""


@dataclass(frozen=True, slots=True)
class CheckQuestion:
    """A condition as the model is asked for it."""

    text: str
    about_event: bool
    threshold: float | None = None
    """The threshold of the rule, see `WordingRule.threshold`."""
    needs: Needs | None = None
    """The needs of the rule, see `WordingRule.needs`."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How one model wants to be asked. The defaults suit a general vision-language model."""

    rules: tuple[WordingRule, ...] = ()
    """Rules that are tried in order; the first whose pattern fits gives the question."""
    condition: str = (
        'Look at the newest frames only. Is this so in them: "{condition}"? Answer with one word, '
        "yes or no."
    )
    """The question where no rule fits. It is then about a state: it is or it is not so."""
    yes: tuple[str, ...] = ("yes", "Yes", "YES")
    no: tuple[str, ...] = ("no", "No", "NO")
    commentary: str = (
        "Say in one short sentence what has just changed. If nothing worth mentioning has changed, "
        'say only "nothing".'
    )
    """The instruction of a commentary that names none."""
    scene: str = "Say in one short sentence what is to be seen."
    """Asked for the diary where a scene begins."""
    num_scene_clips: NumClips = 1
    """Newest clips that are shown for `scene`."""
    sure_commentary: float = 0.0
    """Probability (0-1) of its least likely token from which the model is believed what it says has
    changed. Below it, the diary says what is to be seen instead, where the model is surer of
    that."""
    names_colors: bool = False
    """Whether the model names the colour of what it says has come. Then the diary does not believe
    what it says has changed where that names no colour that the picture has more of than before,
    and says what is to be seen instead."""
    new_scene: str = r"^\W*the (?:scene|picture|view)(?: has)?(?: just)? change[sd]"
    """Regular expression of replies to `commentary` that only say that a scene begins. What is to
    be seen in it is asked then."""
    summary: str | None = (
        "These notes were written while watching a video, each with its time:\n{notes}\nSum them "
        "up in one to three short sentences. Say when things happened and how often. Add nothing "
        "that the notes do not say."
    )
    """How the model is asked for a summary of a part of its diary. None: it cannot sum up texts,
    and summaries list what the notes say."""
    retold: str = (
        "This was found in the video:\n{found}\nAnswer the question with it and with nothing else: "
        "{question}"
    )
    """How a model that can sum up texts is asked to tell what was found, as its instructions say
    how to answer."""
    silence: tuple[str, ...] = ("nothing", "Nothing")
    """Beginnings of replies that mean silence."""
    deferred: str = '{question} If that cannot be seen yet, say only "not yet".'
    not_yet: tuple[str, ...] = (r"^\W*not yet\b", r"\bcannot be (?:seen|told)\b")
    """Regular expressions of replies that are no answer yet."""
    threshold: float = 0.5
    """Calibrated probability of yes from which the answer is yes."""
    bias: float = 0.0
    temperature: float = 1.0
    """Calibration of the margin of yes over no."""
    silence_threshold: float = 0.725
    """Probability of silence from which the model counts as silent."""
    pause: str | None = None
    """The mark, one token of the model, with which it was trained to end a piece of commentary that
    goes on, such as `` ...``; None: it has none."""
    pause_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    pause_step: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Where a watch does not say: what the probability of `pause` must exceed at the beginning of a
    reply, and what is added to that with each token of it."""
    gates_by_silence: bool = False
    """Whether the model keeps silent so reliably while nothing changes that its conditions need be
    checked only where it would not. One check then stands before those of all watches."""
    num_clips: NumClips = 4
    """Newest clips that a check looks at."""
    num_state_clips: NumClips | None = None
    """Newest clips that the check of a question about how things are looks at; None: `num_clips`. A
    small model does best with the newest clip alone, since the clips before it still show what has
    just left."""

    def is_pause(self, piece: str) -> bool:
        """Whether a piece of commentary is nothing but the model's pause, and so says nothing."""
        return self.pause is not None and piece.strip() == self.pause.strip()

    def num_clips_for(self, question: CheckQuestion) -> int:
        """Newest clips that the check of a condition looks at."""
        of_states = None if question.about_event else self.num_state_clips
        return of_states or self.num_clips

    def question_for(self, condition: str) -> CheckQuestion:
        """The yes/no question for what a viewer wants to be told about.

        "Tell me when a red circle appears." and "a red circle appears" mean the same; what ends
        with a question mark is asked as it is.
        """
        bare = _ASKS_TO_BE_TOLD.sub("", condition).strip()
        if bare.endswith("?"):
            return CheckQuestion(bare, about_event=_asks_of_event(bare))
        bare = bare.rstrip(" .!")
        own = self.rule_for(bare)
        if own is not None:
            return own
        return CheckQuestion(self.condition.replace("{condition}", bare), about_event=False)

    def rule_for(self, condition: str) -> CheckQuestion | None:
        """The question that the model's own rules have for a condition; None where none fits."""
        for rule in self.rules:
            if (match := re.fullmatch(rule.pattern, condition, re.IGNORECASE)) is not None:
                fill = partial(_filled, groups=match.groups())
                needs = rule.needs
                if needs is not None and needs.color is not None:
                    needs = replace(needs, color=fill(needs.color))
                text = _with_right_article(fill(rule.question))
                return CheckQuestion(text, rule.about_event, rule.threshold, needs)
        return None


DEFAULT_WORDING = Wording()


def _asks_of_event(question: str) -> bool:
    return re.search(r"\bjust\b", question, re.IGNORECASE) is not None


def _filled(text: str, groups: Sequence[str | None]) -> str:
    """`text` with what a pattern's groups found in place of ``{1}``, ``{2}``, ..."""
    for number, group in enumerate(groups, 1):
        text = text.replace(f"{{{number}}}", (group or "").lower())
    return text


def _with_right_article(text: str) -> str:
    """Write "an" before a vowel and "a" elsewhere."""
    return re.sub(r"\b(an?)\s+([a-z])", _article, text)


def _article(match: re.Match[str]) -> str:
    return f"{'an' if match[2] in 'aeiou' else 'a'} {match[2]}"

"""`Prompts`: what the model is asked on behalf of one watch."""

from dataclasses import dataclass

from onlooker.engine.sampling import PauseRamp
from onlooker.engine.wording import CheckQuestion, Wording
from onlooker.watches.options import WatchOptions


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one watch, in the words that the model understands."""

    check: CheckQuestion
    """Asked for the margin of yes over no."""
    silence: str
    """The model answers this with silence where there is nothing to say."""
    reply: str | None
    """Asked for the text of an alert, for perplexity and for evidence. None: an alert says no more
    than its condition."""
    pause_ramp: PauseRamp | None = None
    """When a reply may have the model's pause; None: whenever it likes."""

    @classmethod
    def of(
        cls, options: WatchOptions, wording: Wording, *, replies: Wording | None = None
    ) -> "Prompts":
        """The prompts that the checked `options` of a watch lead to. `wording`: of the model that
        checks; `replies`: of the model that replies, where it is another."""
        replies = replies or wording
        if options.kind == "alert":
            assert options.condition is not None
            question = wording.question_for(options.condition)
            return cls(question, wording.commentary, options.answer_prompt)
        if options.kind == "commentary":
            instruction = options.instruction or wording.commentary
            reply = options.instruction or replies.commentary
            check = CheckQuestion(instruction, about_event=True)
            return cls(check, instruction, reply, _pause_ramp(options, replies))
        assert options.question is not None
        checked, deferred = (
            one.deferred.replace("{question}", options.question.strip())
            for one in (wording, replies)
        )
        return cls(CheckQuestion(options.question, about_event=False), checked, deferred)


def _pause_ramp(options: WatchOptions, wording: Wording) -> PauseRamp | None:
    """The rule for the pause of the model that replies; None where that has none."""
    if wording.pause is None:
        return None
    threshold, step = options.pause_threshold, options.pause_step
    return PauseRamp(
        wording.pause_threshold if threshold is None else threshold,
        wording.pause_step if step is None else step,
    )

"""From a watch's options to its trigger and the question that the trigger asks."""

from dataclasses import dataclass

from onlooker.engine.wording import CheckQuestion, Wording
from onlooker.watches.config import WatchesSection
from onlooker.watches.options import TriggerName, WatchOptions
from onlooker.watches.triggers.accumulated import OutlierTrigger, SumTrigger
from onlooker.watches.triggers.chain import ChainTrigger
from onlooker.watches.triggers.change import ChangeTrigger
from onlooker.watches.triggers.drift import DriftTrigger
from onlooker.watches.triggers.evidence import EvidenceTrigger
from onlooker.watches.triggers.interface import Trigger
from onlooker.watches.triggers.interval import IntervalTrigger
from onlooker.watches.triggers.sight import SightGate
from onlooker.watches.triggers.silence import SilenceTrigger
from onlooker.watches.triggers.yes_no import YesNoTrigger

LONE_HISTORY = 8
"""Clips that a change alert by itself has to see first: it tells the unusual from the usual."""

LONE_REFRACTORY_S = 5.0

SUM_THRESHOLD = 1.0
OUTLIER_Z = 2.0


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the model is asked on behalf of one watch."""

    check: CheckQuestion
    """For yes/no margins."""
    silence: str
    """To which the model keeps silent where there is nothing to say."""
    reply: str | None
    """For the text of an alert, perplexity and evidence; None: nothing is to be said."""


def make_prompts(options: WatchOptions, wording: Wording) -> Prompts:
    """The prompts of a watch, in the words that the model understands."""
    if options.kind == "alert":
        assert options.condition is not None
        question = wording.question_for(options.condition)
        return Prompts(question, wording.commentary, options.answer_prompt)
    if options.kind == "commentary":
        instruction = options.instruction or wording.commentary
        return Prompts(CheckQuestion(instruction, about_event=True), instruction, instruction)
    assert options.question is not None
    deferred = wording.deferred.replace("{question}", options.question.strip())
    return Prompts(CheckQuestion(options.question, about_event=False), deferred, deferred)


def make_trigger(
    options: WatchOptions, prompts: Prompts, wording: Wording, settings: WatchesSection
) -> Trigger:
    """The chain of triggers that the options name."""
    names = options.triggers(wording)
    links = [_make(name, options, prompts, wording, settings) for name in names]
    return links[0] if len(links) == 1 else ChainTrigger(links)


def _make(
    name: TriggerName,
    options: WatchOptions,
    prompts: Prompts,
    wording: Wording,
    settings: WatchesSection,
) -> Trigger:
    bias, temperature = wording.bias, wording.temperature
    if name == "change":
        if len(options.triggers(wording)) > 1:
            return ChangeTrigger(floor=settings.min_change, passes_first=True)
        return ChangeTrigger(
            quantile=options.quantile,
            floor=settings.min_change,
            min_history=LONE_HISTORY,
            refractory_s=LONE_REFRACTORY_S,
        )
    if name == "yes_no":
        chosen = (options.min_confidence, prompts.check.threshold, wording.threshold)
        return YesNoTrigger(
            threshold=next(value for value in chosen if value is not None),
            while_true=options.while_true,
            about_event=prompts.check.about_event,
            bias=bias,
            temperature=temperature,
            gate=_gate(options, prompts.check, settings),
        )
    if name == "silence":
        return SilenceTrigger(threshold=wording.silence_threshold)
    if name == "drift":
        return DriftTrigger(alpha=options.alpha)
    if name == "sum":
        return SumTrigger(threshold=SUM_THRESHOLD, bias=bias, temperature=temperature)
    if name == "outlier":
        return OutlierTrigger(z=OUTLIER_Z, bias=bias, temperature=temperature)
    if name == "evidence":
        return EvidenceTrigger(not_yet=wording.not_yet)
    return IntervalTrigger(every_s=options.interval_s)


def _gate(
    options: WatchOptions, question: CheckQuestion, settings: WatchesSection
) -> SightGate | None:
    """What may spare a check its question; nothing, where the viewer says when to ask."""
    if question.needs is None or options.trigger or options.while_true:
        return None
    return SightGate(
        question.needs,
        about_event=question.about_event,
        min_change=settings.min_change,
        min_color=settings.min_color,
    )

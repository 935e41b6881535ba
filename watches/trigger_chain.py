"""The trigger of a watch: a chain of the rules that its options name."""

from collections.abc import Mapping

from onlooker.core.media import ViewTrouble
from onlooker.engine.wording import CheckQuestion, Wording
from onlooker.watches.config import WatchesSection
from onlooker.watches.options import HeadsRule, TriggerName, WatchOptions
from onlooker.watches.triggers.accumulated import (
    OutlierTest,
    OutlierTrigger,
    RunningSum,
    SumTrigger,
)
from onlooker.watches.triggers.boundary import BoundaryTrigger
from onlooker.watches.triggers.chain import ChainTrigger
from onlooker.watches.triggers.change import ChangeTrigger
from onlooker.watches.triggers.drift import DriftTrigger
from onlooker.watches.triggers.evidence import EvidenceTrigger
from onlooker.watches.triggers.heads import HeadsTrigger
from onlooker.watches.triggers.health import HealthTrigger, troubles_in
from onlooker.watches.triggers.interface import Trigger
from onlooker.watches.triggers.interval import IntervalTrigger
from onlooker.watches.triggers.sight import SightGate
from onlooker.watches.triggers.silence import SilenceTrigger
from onlooker.watches.triggers.yes_no import YesNoTrigger

LONE_HISTORY = 8
"""Clips that ``change`` has to see before it speaks where it stands alone: it has to know the usual
before it can tell the unusual."""

LONE_REFRACTORY_S = 5.0
"""Stream time after speaking in which ``change`` stays silent where it stands alone."""

SUM_THRESHOLD = 1.0
"""What the probabilities of yes have to add up to: one certain yes, or several doubtful ones."""

OUTLIER_Z = 2.0
"""Standard deviations above the mean from which a probability of yes is out of the ordinary."""


HEADS_THRESHOLDS: Mapping[HeadsRule, float] = {
    "each": 0.5,
    "sum": SUM_THRESHOLD,
    "outlier": OUTLIER_Z,
}
"""What the score of a model's heads must exceed, where a watch does not say."""


def make_trigger(
    options: WatchOptions,
    question: CheckQuestion,
    wording: Wording,
    settings: WatchesSection,
    *,
    replies: Wording | None = None,
) -> Trigger:
    """The trigger of a watch with these checked options, which asks `question` for yes or no.
    `wording`: of the model that checks; `replies`: of the model that replies, where it is
    another."""
    not_yet = (replies or wording).not_yet
    links = [
        EvidenceTrigger(not_yet=not_yet)
        if name == "evidence"
        else _make(name, options, question, wording, settings)
        for name in options.triggers(wording)
    ]
    return links[0] if len(links) == 1 else ChainTrigger(links)


def _make(
    name: TriggerName,
    options: WatchOptions,
    question: CheckQuestion,
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
    if name == "boundary":
        is_lone = len(options.triggers(wording)) == 1
        return BoundaryTrigger(deviations=options.deviations, passes_first=not is_lone)
    if name == "yes_no":
        chosen = (options.min_confidence, question.threshold, wording.threshold)
        return YesNoTrigger(
            threshold=next(value for value in chosen if value is not None),
            while_true=options.while_true,
            about_event=question.about_event,
            bias=bias,
            temperature=temperature,
            gate=_gate(options, question, settings),
        )
    if name == "silence":
        threshold = options.silence_threshold
        return SilenceTrigger(
            threshold=wording.silence_threshold if threshold is None else threshold,
            step=options.silence_step,
        )
    if name == "drift":
        return DriftTrigger(alpha=options.alpha)
    if name == "sum":
        return SumTrigger(threshold=SUM_THRESHOLD, bias=bias, temperature=temperature)
    if name == "outlier":
        return OutlierTrigger(z=OUTLIER_Z, bias=bias, temperature=temperature)
    if name == "heads":
        return _heads_trigger(options, question)
    if name == "health":
        named = troubles_in(options.condition or "")
        return HealthTrigger(named or frozenset(ViewTrouble), while_true=options.while_true)
    return IntervalTrigger(every_s=options.interval_s)


def _heads_trigger(options: WatchOptions, question: CheckQuestion) -> HeadsTrigger:
    threshold = options.heads_threshold
    if threshold is None:
        threshold = HEADS_THRESHOLDS[options.heads_rule]
    rule: RunningSum | OutlierTest | None = None
    if options.heads_rule == "sum":
        rule = RunningSum(threshold)
    elif options.heads_rule == "outlier":
        rule = OutlierTest(threshold)
    return HeadsTrigger(
        weights=options.heads,
        rule=rule,
        threshold=threshold,
        speaks_again=options.while_true or question.about_event,
    )


def _gate(
    options: WatchOptions, question: CheckQuestion, settings: WatchesSection
) -> SightGate | None:
    """What may spare the model a check. None where the wording does not say what must have changed,
    or where the viewer has said when to ask."""
    if question.needs is None or options.trigger or options.while_true:
        return None
    return SightGate(
        question.needs,
        about_event=question.about_event,
        min_change=settings.min_change,
        min_color=settings.min_color,
    )

"""`Watch`: a standing question with its trigger, its counts, and what it may still say."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from onlooker.core.media import Clip
from onlooker.engine.wording import Wording
from onlooker.watches.config import WatchesSection
from onlooker.watches.options import TriggerName, WatchOptions
from onlooker.watches.prompts import Prompts
from onlooker.watches.trigger_chain import make_trigger
from onlooker.watches.triggers.interface import Decision, Defer, Speak, Trigger

WatchState = Literal["active", "paused", "ended"]

_MINUTE_S = 60.0

COMPARES_REPLIES = {"drift"}
"""Triggers that compare the next clip with what was said about the last one."""

KEEPS_TRIGGER = {"cooldown_s", "max_alerts_per_minute", "expires_after_s", "paused", "repeat",
                 "include_frame", "supersede", "webhook", "metadata", "pause_threshold",
                 "pause_step"}  # fmt: skip
"""Options that can change while the trigger goes on with what it has seen."""


@dataclass(slots=True)
class WatchCounts:
    """What became of the clips that a watch looked at."""

    clips: int = 0
    deferred: int = 0
    passed_over: int = 0
    alerts: int = 0
    held_back: int = 0
    """Alerts that were not raised, because of the cooldown or the rate."""


@dataclass(slots=True)
class Watch:
    """A standing question to one stream. Made by `Watch.make`, and owned by the stream's keeper."""

    watch_id: str
    options: WatchOptions
    created_wall_s: float
    created_s: float
    """Stream time at which it was created."""
    trigger: Trigger
    trigger_names: Sequence[TriggerName]
    prompts: Prompts
    max_per_minute: float
    changed_wall_s: float
    """When its options were last said: as it was created, or changed."""
    counts: WatchCounts = field(default_factory=WatchCounts)
    last_confidence: float | None = None
    why_ended: str | None = None
    is_told: bool = False
    """Whether what it looks for is there, and was spoken of."""
    num_speaking: int = 0
    """Alerts that are decided on, and whose words are being found."""
    _alerts_s: deque[float] = field(default_factory=deque)

    @classmethod
    def make(
        cls,
        watch_id: str,
        options: WatchOptions,
        *,
        wording: Wording,
        settings: WatchesSection,
        created_wall_s: float,
        created_s: float,
        replies: Wording | None = None,
    ) -> "Watch":
        """A new watch with these options, which must have been checked. `wording`: of the model
        that checks; `replies`: of the model that replies, where it is another."""
        prompts = Prompts.of(options, wording, replies=replies)
        return cls(
            watch_id=watch_id,
            options=options,
            created_wall_s=created_wall_s,
            created_s=created_s,
            trigger=make_trigger(options, prompts.check, wording, settings, replies=replies),
            trigger_names=options.triggers(wording),
            prompts=prompts,
            max_per_minute=options.max_alerts_per_minute or settings.max_alerts_per_minute,
            changed_wall_s=created_wall_s,
        )

    @property
    def state(self) -> WatchState:
        """Whether it looks at clips. A paused watch may go on; one that has ended does not."""
        if self.why_ended is not None:
            return "ended"
        return "paused" if self.options.paused else "active"

    @property
    def compares_replies(self) -> bool:
        """Whether what it says must be known before it looks at the next clip."""
        return not COMPARES_REPLIES.isdisjoint(self.trigger_names)

    @property
    def alerts_s(self) -> tuple[float, ...]:
        """Stream times of its last alerts that were raised, as far as cooldown and rate look
        back."""
        return tuple(self._alerts_s)[: len(self._alerts_s) - self.num_speaking]

    def may_be_new(self, clip: Clip) -> bool:
        """Whether it may have something to say about `clip`, which an earlier server had: it has
        been there as long, and has spoken of nothing that is as new."""
        is_later = not self._alerts_s or clip.end_s > self._alerts_s[-1]
        return is_later and clip.end_s >= self.created_s

    def go_on(
        self,
        alerts_s: Sequence[float],
        *,
        num_alerts: int,
        is_on: bool,
        changed_wall_s: float | None,
    ) -> None:
        """Take the place of this watch of an earlier server. `changed_wall_s`: None where that did
        not note it."""
        if changed_wall_s is not None:
            self.changed_wall_s = changed_wall_s
        self._alerts_s.extend(alerts_s)
        self.counts.alerts = num_alerts
        self.is_told = is_on
        self.trigger.go_on(is_on)

    def note(self, decision: Decision) -> None:
        """Count what the trigger decided about a clip."""
        self.counts.clips += 1
        if isinstance(decision, Defer):
            self.counts.deferred += 1
        elif isinstance(decision, Speak) or decision.confidence is not None:
            self.last_confidence = decision.confidence

    def updated(
        self,
        changes: dict[str, Any],
        *,
        wording: Wording,
        settings: WatchesSection,
        changed_wall_s: float,
        replies: Wording | None = None,
    ) -> "Watch":
        """The same watch with other options. The trigger begins anew where a change concerns it; an
        option that is named as it was has not changed."""
        options = replace(self.options, **changes)
        changed = {one for one in changes if getattr(options, one) != getattr(self.options, one)}
        fresh = Watch.make(
            self.watch_id,
            options,
            wording=wording,
            settings=settings,
            created_wall_s=self.created_wall_s,
            created_s=self.created_s,
            replies=replies,
        )
        fresh.counts, fresh._alerts_s = self.counts, self._alerts_s
        fresh.changed_wall_s = changed_wall_s
        if changed <= KEEPS_TRIGGER:
            fresh.trigger, fresh.is_told = self.trigger, self.is_told
        return fresh

    def expire(self, now_s: float) -> bool:
        """End the watch if its time has passed; returns whether it has ended just now."""
        limit_s = self.options.expires_after_s
        if self.why_ended is None and limit_s is not None and now_s > self.created_s + limit_s:
            self.why_ended = "expired"
            return True
        return False

    def may_alert(self, clip: Clip) -> bool:
        """Whether cooldown and rate allow an alert about `clip`. The alert counts as raised or as
        held back, and a watch that does not repeat ends with it."""
        now_s = clip.end_s
        longest_s = max(_MINUTE_S, self.options.cooldown_s)
        while self._alerts_s and self._alerts_s[0] <= now_s - longest_s:
            self._alerts_s.popleft()
        resting = self._alerts_s and now_s - self._alerts_s[-1] < self.options.cooldown_s
        recent = sum(at_s > now_s - _MINUTE_S for at_s in self._alerts_s)
        if resting or recent >= self.max_per_minute:
            self.counts.held_back += 1
            return False
        self._alerts_s.append(now_s)
        self.counts.alerts += 1
        if not self.options.repeat or self.options.kind == "question":
            self.why_ended = "answered" if self.options.kind == "question" else "alerted once"
        return True

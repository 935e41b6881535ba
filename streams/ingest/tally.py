"""`Tally`: counts what became of one stream's frames and clips, and tells it."""

import math
from collections.abc import Callable

from onlooker.core.guarantee import Guarantee
from onlooker.core.media import Clip, DropReason, FrameOutcome, ViewTrouble
from onlooker.core.metrics import Metrics
from onlooker.streams.events import (
    ClipLost,
    ClipSeen,
    FrameAck,
    HealthChanged,
    SceneChanged,
    StreamEvent,
    TimeJumped,
)
from onlooker.streams.ingest.mailbox import Entry
from onlooker.streams.perception.stream_time import TimeJump
from onlooker.streams.perception.view_health import HealthChange
from onlooker.streams.tenancy.usage import TenantTotals

BEHIND = (DropReason.MAILBOX_FULL, DropReason.LATE)
"""The reasons for which frames are dropped when the model does not keep up."""

MIN_TOLD_S = 0.5
"""Stream time after a jump of the source's time within which further ones are only counted."""


class Tally:
    """The one owner of a stream's counters: others read them, and tell it what has happened.

    Args:
        publish: tells the stream's viewers.
        seen_until_s: end of the newest clip that the model remembers; None for a new stream.
        totals: those of the stream's tenant, to which its frames are added.
    """

    def __init__(
        self,
        metrics: Metrics,
        publish: Callable[[StreamEvent], None],
        *,
        seen_until_s: float | None,
        totals: TenantTotals | None = None,
    ) -> None:
        self._metrics, self._publish = metrics, publish
        self._totals = totals or TenantTotals()
        self._note_clip, self._note_ingest = metrics.note_clip_seen, metrics.note_ingest
        self._note_lag = metrics.note_frame_lag
        self._counts: dict[tuple[FrameOutcome, DropReason | None], Callable[[], None]] = {}
        """What counts each kind of outcome: a look-up by labels costs more than to count."""
        self.received = 0
        """Messages that came in; each of them is settled once."""
        self.kept = self.skipped = 0
        self.dropped: dict[DropReason, int] = {}
        self.num_behind = 0
        """Messages that were dropped because the model was too slow."""
        self.clips = self.clips_lost = 0
        self._jump_told_s = -math.inf
        self.seen_until_s = seen_until_s
        """Stream time up to which the model knows what was there: where the newest seen clip ends,
        or the last picture that was nearly the same; None before the first."""
        self.lost_until_s = -math.inf
        """Stream time at which the newest lost clip ends; before all time when none was lost."""
        self.trouble: ViewTrouble | None = None
        """What is wrong with the view; None where nothing is, as far as is known."""
        self.trouble_since_s: float | None = None
        """Stream time at which that was told; None where nothing is wrong."""
        self.lag_s = 0.0
        """Seconds from the arrival of the newest seen clip's last frame until it was seen."""

    # ---- frames

    def note_received(self) -> None:
        """Count a message that came in."""
        self.received += 1

    def settle(
        self,
        entry: Entry,
        outcome: FrameOutcome,
        reason: DropReason | None = None,
        guarantee: Guarantee | None = None,
    ) -> None:
        """Tell everyone what became of a message; exactly once for each.

        `reason`: why it was dropped. `guarantee`: what it survives, where it was kept.
        """
        if reason is not None:
            self.num_behind += reason in BEHIND
            self.dropped[reason] = self.dropped.get(reason, 0) + 1
            self._totals.frames_left_out += 1
        else:
            self.kept += outcome is FrameOutcome.KEPT
            self.skipped += outcome is not FrameOutcome.KEPT
            self._totals.frames_taken += 1
        count = self._counts.get((outcome, reason))
        if count is None:
            count = self._metrics.note_frame(outcome, reason or "")
            self._counts[outcome, reason] = count
        count()
        message = entry.message
        ack = FrameAck(message.sequence, outcome, reason, message.capture_s, guarantee)
        if entry.outcome is not None and not entry.outcome.done():
            entry.outcome.set_result(ack)
        self._publish(ack)

    def note_scene(self, at_s: float) -> None:
        """Tell that the picture became another one at once, at stream time `at_s`."""
        self._publish(SceneChanged(at_s))

    def note_health(self, change: HealthChange) -> None:
        """Count and tell that the view got into trouble, or out of it."""
        if self.trouble is not None:
            self._metrics.streams_in_trouble.labels(self.trouble).dec()
        self.trouble = change.trouble
        self.trouble_since_s = None if change.trouble is None else change.at_s
        if change.trouble is not None:
            self._metrics.streams_in_trouble.labels(change.trouble).inc()
            self._metrics.view_troubles.labels(change.trouble).inc()
        self._publish(HealthChanged(change.at_s, change.trouble, change.was))

    def close(self) -> None:
        """Count the stream no more."""
        if self.trouble is not None:
            self._metrics.streams_in_trouble.labels(self.trouble).dec()
            self.trouble = self.trouble_since_s = None

    def note_jump(self, jump: TimeJump) -> None:
        """Count and tell that a source's time did not go on as it was expected to. A source that
        jumps all the time is not told of each time."""
        self._metrics.time_jumps.labels(kind=jump.kind).inc()
        if not 0 <= jump.at_s - self._jump_told_s < MIN_TOLD_S:
            self._jump_told_s = jump.at_s
            self._publish(TimeJumped(jump))

    # ---- clips

    def note_found(self, num_clips: int) -> None:
        """Count clips that are remembered from an earlier life of the stream."""
        self.clips += num_clips

    def note_seen(self, clip: Clip, *, lag_s: float, took_s: float) -> None:
        """Count and tell a clip that the model has seen, in `took_s` seconds, `lag_s` seconds after
        its last frame came in."""
        self.clips += 1
        self.seen_until_s, self.lag_s = max(clip.end_s, self.seen_until_s or 0.0), lag_s
        self._note_clip()
        self._note_ingest(took_s)
        self._note_lag(lag_s)
        self._publish(ClipSeen(clip.clip_index, clip.start_s, clip.end_s, lag_s))

    def note_alike(self, until_s: float) -> None:
        """Note that what was looked at up to `until_s` is nearly the same as the newest clip, which
        the model has seen."""
        self.seen_until_s = max(until_s, self.seen_until_s or 0.0)

    def note_restored(self, clip: Clip) -> None:
        """Tell that the model was shown a clip again, which it had forgotten."""
        self.seen_until_s = max(clip.end_s, self.seen_until_s or 0.0)
        self._metrics.clips.labels(result="restored").inc()
        self._publish(ClipSeen(clip.clip_index, clip.start_s, clip.end_s, self.lag_s))

    def note_lost(self, clip: Clip, reason: str) -> None:
        """Count and tell a clip on which the engine failed."""
        self.note_lost_clips(1, clip.end_s)
        self._publish(ClipLost(clip.clip_index, clip.start_s, clip.end_s, reason))

    def note_lost_clips(self, num_clips: int, until_s: float | None) -> None:
        """Count lost clips, the newest of which ends at stream time `until_s`."""
        self.clips_lost += num_clips
        self.lost_until_s = max(self.lost_until_s, until_s or 0.0)
        self._metrics.clips.labels(result="lost").inc(num_clips)

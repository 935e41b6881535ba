"""Frames to clips: two frames that follow each other, or one frame repeated.

How frames are paired depends only on the frames themselves, in order: never on questions, and never
on what comes later. So what had been captured by t is the same clips, whatever follows.
"""

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Cover, Frame

SLOW_AFTER = 2
"""Where frames come two at a time, a source is slow when so many of them have waited for their
partners in vain. One is not enough: the second of the first two may."""


class ClipBuilder:
    """Pairs one stream's kept frames, in time order. No clip spans a cut or a gap.

    Each picture that was looked at, kept or not, stands for `hold_s` seconds, or until the next one
    comes. All of that time belongs to exactly one clip (its *cover*); time beyond it was seen by
    nobody and belongs to none. Both are known without looking ahead.
    """

    def __init__(self, stream_id: StreamId, *, max_pair_gap_s: float, hold_s: float) -> None:
        self._stream_id = stream_id
        self._max_pair_gap_s = max_pair_gap_s
        self._hold_s = hold_s
        self._until_s = 0.0
        """Where the cover of the clip made last ends, if no other frame comes before that."""
        self._waiting: Frame | None = None
        self._alone: Clip | None = None
        """The clip that `_waiting` would be alone, once that was asked for."""
        self._looked_at_s: float | None = None
        self._num_clips = 0
        self._comes_in_twos = False
        self._num_vain = 0
        """Where frames come in twos: how many waited in vain since two came close together."""

    @property
    def has_pending(self) -> bool:
        """Whether a frame waits for its partner."""
        return self._waiting is not None

    @property
    def pending(self) -> Clip | None:
        """The frame that waits for its partner, as the clip it would be alone."""
        waiting = self._waiting
        if waiting is None:
            return None
        if self._alone is None or self._alone.frames[0] is not waiting:
            self._alone = self._clip(waiting, waiting)
        return self._alone

    @property
    def covers(self) -> tuple[Cover, ...]:
        """The covers of the clip made last and of the one that the pending frame would be alone, as
        far as they are known."""
        if self._waiting is None:
            covers = [Cover(self._num_clips - 1, self._until_s)]
        else:
            waiting_s = self._waiting.capture_s
            covers = [
                Cover(self._num_clips - 1, min(self._until_s, waiting_s)),
                Cover(self._num_clips, waiting_s + self._hold_s),
            ]
        return tuple(cover for cover in covers if cover.clip_index >= 0)

    def is_after_gap(self, capture_s: float) -> bool:
        """Whether nobody saw what was there just before `capture_s`, so that a frame of then begins
        another cover, whatever it shows."""
        return self._looked_at_s is not None and capture_s > self._looked_at_s + self._hold_s

    @property
    def newest_index(self) -> int:
        """Index of the clip that the frame added last belongs to."""
        return self._num_clips if self._waiting is not None else self._num_clips - 1

    @property
    def expires_s(self) -> float | None:
        """Stream time until which the pending frame waits; None when none is pending."""
        return None if self._waiting is None else self._waiting.capture_s + self._max_pair_gap_s

    def set_pairing(self, *, max_pair_gap_s: float, comes_in_twos: bool) -> None:
        """Set how long a frame waits for its partner from now on.

        Args:
            max_pair_gap_s: stream time that a frame waits, at most.
            comes_in_twos: frames are picked two at a time, with longer gaps between: the gap before
                a frame does not tell that none will follow it.
        """
        self._max_pair_gap_s, self._comes_in_twos = max_pair_gap_s, comes_in_twos

    def pass_time(self, now_s: float) -> list[Clip]:
        """Tell that stream time has come to `now_s`, with or without a frame; return the clips that
        this completes."""
        if (expires_s := self.expires_s) is None or now_s <= expires_s:
            return []
        return self.flush()

    def resume(
        self,
        next_clip_index: int,
        waiting: Frame | None,
        looked_at_s: float | None,
        before_until_s: float | None = None,
    ) -> None:
        """Go on where an earlier builder was.

        Args:
            waiting: the frame that waited for its partner.
            looked_at_s: the time of the newest frame that was looked at.
            before_until_s: where the cover of the clip before `waiting` ends.
        """
        self._num_clips, self._waiting, self._alone = next_clip_index, waiting, None
        self._looked_at_s = looked_at_s
        if waiting is not None:
            self._until_s = before_until_s or 0.0
        elif looked_at_s is not None:
            self._until_s = looked_at_s + self._hold_s

    def note_looked_at(self, capture_s: float) -> None:
        """Tell that a frame was looked at, kept or not, which shows how fast the source is. What
        was not kept shows the same as the clip made last."""
        self._looked_at_s = capture_s
        if self._waiting is None:
            self._until_s = capture_s + self._hold_s

    def add(self, frame: Frame, *, is_cut: bool) -> list[Clip]:
        """Take a kept frame; return the clips that it completes."""
        clips = self.pass_time(frame.capture_s)
        if is_cut:
            clips += self.flush()
        if self._waiting is not None:
            first, self._waiting = self._waiting, None
            self._num_vain = 0
            return [*clips, self._make(first, frame)]
        self._waiting = frame
        before_s = self._looked_at_s
        if before_s is None or frame.capture_s - before_s <= self._max_pair_gap_s:
            self._num_vain = 0
        elif self._num_vain >= (SLOW_AFTER if self._comes_in_twos else 0):
            # The source is slow: no partner would come in time, so waiting is only lag.
            clips += self.flush()
        return clips

    def flush(self) -> list[Clip]:
        """Stop waiting for a partner; return the clip of the pending frame, if there is one."""
        frame, self._waiting = self._waiting, None
        if frame is None:
            return []
        self._num_vain = self._num_vain + 1 if self._comes_in_twos else 0
        return [self._make(frame, frame)]

    def _make(self, first: Frame, second: Frame) -> Clip:
        clip = self._clip(first, second)
        self._num_clips += 1
        self._until_s = second.capture_s + self._hold_s
        return clip

    def _clip(self, first: Frame, second: Frame) -> Clip:
        before_until_s = min(self._until_s, first.capture_s)
        return Clip(self._stream_id, self._num_clips, (first, second), before_until_s)

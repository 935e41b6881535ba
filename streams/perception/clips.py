"""Frames to clips: two frames that follow each other, or one frame repeated.

How frames are paired depends only on the frames themselves, in order: never on questions, and never
on what comes later. So what had been captured by t is the same clips, whatever follows.
"""

from onlooker.core.ids import StreamId
from onlooker.core.media import Clip, Frame

SLOW_AFTER = 2
"""Where frames come two at a time, a source is slow when so many of them have waited for their
partners in vain. One is not enough: the second of the first two may."""


class ClipBuilder:
    """Pairs one stream's kept frames, in time order. No clip spans a cut or a gap."""

    def __init__(self, stream_id: StreamId, *, max_pair_gap_s: float) -> None:
        self._stream_id = stream_id
        self._max_pair_gap_s = max_pair_gap_s
        self._waiting: Frame | None = None
        self._looked_at_s: float | None = None
        self._num_clips = 0
        self._comes_in_twos = False
        self._num_vain = 0
        """Where frames come in twos: how many waited in vain since two came close together."""

    @property
    def pending(self) -> Clip | None:
        """The frame that waits for its partner, as the clip it would be alone."""
        if self._waiting is None:
            return None
        return Clip(self._stream_id, self._num_clips, (self._waiting, self._waiting))

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
        self, next_clip_index: int, waiting: Frame | None, looked_at_s: float | None
    ) -> None:
        """Go on where an earlier builder was; `waiting`: the frame that waited for its partner."""
        self._num_clips, self._waiting = next_clip_index, waiting
        self._looked_at_s = looked_at_s

    def note_looked_at(self, capture_s: float) -> None:
        """Tell that a frame was looked at, kept or not, which shows how fast the source is."""
        self._looked_at_s = capture_s

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
        clip = Clip(self._stream_id, self._num_clips, (first, second))
        self._num_clips += 1
        return clip

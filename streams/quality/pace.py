"""What to ask a source to send, from how far behind the model is."""

from onlooker.scheduler.quality import Quality
from onlooker.streams.events import PaceChanged

MIN_FPS = 0.25
STEP_DOWN_S = 3.0
"""Seconds between two requests to slow down: the last one must have had time to work."""
STEP_UP_S = 10.0
"""Seconds of calm before a source may send more again."""


class PaceAdvisor:
    """Halves the wished frame rate while lag is high, raises it slowly when it is gone."""

    def __init__(self, *, fps: float, width: int, height: int, max_lag_s: float) -> None:
        self._most_fps = fps
        self._full_width, self._full_height = width, height
        self._max_lag_s = max_lag_s
        self._changed_at_s: float | None = None
        self._high_at_s: float | None = None
        self.current = PaceChanged(
            fps=fps, width=width, height=height, lag_s=0.0, reason="what the model looks at"
        )

    def note_lag(self, lag_s: float, now_s: float) -> PaceChanged | None:
        """Take the lag of the newest clip; returns the new wish when it changes."""
        fps = self.current.fps
        if lag_s > self._max_lag_s / 2:
            self._high_at_s = now_s
            if self._settled(now_s, STEP_DOWN_S) and fps > MIN_FPS:
                return self._change(max(MIN_FPS, fps / 2), lag_s, now_s, "the model is behind")
        elif lag_s < self._max_lag_s / 4 and fps < self._most_fps:
            calm = self._high_at_s is None or now_s - self._high_at_s >= STEP_UP_S
            if calm and self._settled(now_s, STEP_UP_S):
                return self._change(
                    min(self._most_fps, fps * 1.5), lag_s, now_s, "the model keeps up"
                )
        return None

    def set_quality(self, quality: Quality, full_fps: float, lag_s: float) -> PaceChanged | None:
        """Wish for what a rung of quality looks at; returns the new wish when it changes.

        `full_fps`: what the source sent of itself, of which the rung is a share.
        Where a policy governs quality, this takes the place of `note_lag`.
        """
        share = quality.fps_share
        wish = PaceChanged(
            fps=self._most_fps if share == 1.0 else round(full_fps * share, 3),
            width=round(self._full_width * quality.size_share),
            height=round(self._full_height * quality.size_share),
            lag_s=lag_s,
            reason=f"quality level {quality.level}",
        )
        now, self.current = self.current, wish
        is_same = (now.fps, now.width, now.height) == (wish.fps, wish.width, wish.height)
        return None if is_same else wish

    def _settled(self, now_s: float, wait_s: float) -> bool:
        return self._changed_at_s is None or now_s - self._changed_at_s >= wait_s

    def _change(self, fps: float, lag_s: float, now_s: float, reason: str) -> PaceChanged:
        self._changed_at_s = now_s
        now = self.current
        self.current = PaceChanged(fps, now.width, now.height, lag_s, reason)
        return self.current

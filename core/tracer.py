"""`Tracer`: decides which traces are recorded, and keeps their spans until they are exported.

One is made by a server whose traces are on, and handed to whoever records. Where traces are off
there is none, so that nothing is done for them.
"""

import random
from collections import deque
from collections.abc import Mapping
from itertools import islice

from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.core.token_bucket import TokenBucket
from onlooker.core.trace import Attribute, SpanKind, TraceParent, TraceSpan


class Tracer:
    """Everything runs on the event loop, and nothing waits.

    Args:
        ratio: the share (0-1) of the traces that begin here which is recorded.
        frame_ratio: the same of frames.
        slow_frame_s: a frame that was seen so many seconds after it came in is recorded whatever
            the ratio says, at most `slow_frames_per_s` of them; None: no frame is slow.
        with_texts: whether spans may hold what was asked and answered.
        max_queued: spans that wait for the exporter; of more, the new ones are left out.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
        ratio: float,
        frame_ratio: float,
        slow_frame_s: float | None,
        slow_frames_per_s: float,
        with_texts: bool,
        max_queued: int,
    ) -> None:
        self.clock, self.with_texts = clock, with_texts
        self._metrics, self._rng = metrics, rng
        self._ratio, self._frame_ratio, self._slow_frame_s = ratio, frame_ratio, slow_frame_s
        self._slow = TokenBucket(
            rate_per_s=slow_frames_per_s, burst=max(1.0, slow_frames_per_s), clock=clock
        )
        self._waiting: deque[TraceSpan] = deque()
        self._max_queued = max_queued

    def begin(self, above: TraceParent | None = None) -> TraceParent:
        """A place for a span: below `above`, recorded if that is; or the root of a new trace."""
        if above is not None:
            return above.child()
        return TraceParent.root(is_sampled=self._rng.random() < self._ratio)

    def begin_frame(self, lag_s: float) -> TraceParent | None:
        """The root of the trace of a frame that was seen `lag_s` seconds after it came in; None
        where it is not recorded."""
        is_slow = self._slow_frame_s is not None and lag_s >= self._slow_frame_s
        if self._rng.random() >= self._frame_ratio and not (is_slow and self._slow.try_take()):
            return None
        return TraceParent.root(is_sampled=True)

    def record(
        self,
        name: str,
        place: TraceParent,
        *,
        above: TraceParent | None,
        start_s: float,
        end_s: float | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        moments: tuple[tuple[str, float], ...] = (),
        error: str | None = None,
        **attributes: Attribute | None,
    ) -> None:
        """Take a span that has ended, at `end_s` or now, where its trace is recorded. `place` is
        its own, `above` that of the span over it. Attributes that are None are left out; ``__`` in
        their names stands for a dot."""
        self._take(
            TraceSpan(
                name=name,
                place=place,
                parent_id=None if above is None else above.span_id,
                start_s=start_s,
                end_s=self.clock.now_s() if end_s is None else end_s,
                kind=kind,
                attributes=_named(attributes),
                moments=moments,
                error=error,
            )
        )

    def step(
        self,
        name: str,
        above: TraceParent,
        start_s: float,
        end_s: float,
        **attributes: Attribute | None,
    ) -> TraceParent:
        """Record a part of the work of the span `above`; returns the part's place."""
        place = above.child()
        self._take(
            TraceSpan(
                name=name,
                place=place,
                parent_id=above.span_id,
                start_s=start_s,
                end_s=end_s,
                attributes=_named(attributes),
            )
        )
        return place

    def _take(self, span: TraceSpan) -> None:
        if not span.place.is_sampled:
            return
        if len(self._waiting) >= self._max_queued:
            self._metrics.trace_spans.labels("dropped").inc()
            return
        self._waiting.append(span)

    @property
    def num_waiting(self) -> int:
        """Spans that wait for the exporter."""
        return len(self._waiting)

    def waiting(self, limit: int) -> list[TraceSpan]:
        """The oldest spans that wait, `limit` at most; they wait until `let_go`."""
        return list(islice(self._waiting, limit))

    def let_go(self, count: int) -> None:
        """Let go of the oldest spans that wait."""
        for _ in range(min(count, len(self._waiting))):
            self._waiting.popleft()


def _named(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    """Attributes as they are exported: those that are known, under this project's prefix."""
    return {
        f"onlooker.{key.replace('__', '.')}": value
        for key, value in attributes.items()
        if value is not None
    }

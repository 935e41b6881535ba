"""The rungs of quality: what gives way, and in which order."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one stream is watched. Level 0 is what was asked for."""

    level: int = 0
    fps_share: float = 1.0
    """Share of the stream's frames that are looked at."""
    size_share: float = 1.0
    """Share of the frame's width and height that the source is asked to send."""
    is_paired: bool = False
    """Two frames share a clip although they come slowly: half the tokens a frame, more lag."""
    memory_share: float = 1.0
    """Share of the recent window and of the retrieved clips in each context."""
    is_thinned: bool = False
    """What hardly changed in a clip's picture is not computed again, where the engine is set up for
    that (``engine.memory.token_drop.under_load``)."""

    def clips_per_s(self, fps: float, *, gap_s: float, pair_gap_s: float) -> float:
        """Clips that a source of `fps` frames a second makes. Two frames share one when they come
        within `gap_s`, or within `pair_gap_s` where they are made to."""
        if fps <= 0:
            return 0.0
        longest_s = max(gap_s, pair_gap_s) if self.is_paired else gap_s
        return fps * self.fps_share / (2 if 1 / fps <= longest_s else 1)

    def is_at_most(self, other: "Quality") -> bool:
        """Whether nothing of it is better than in `other`."""
        return (
            self.fps_share <= other.fps_share
            and self.size_share <= other.size_share
            and self.is_paired >= other.is_paired
            and self.memory_share <= other.memory_share
            and self.is_thinned >= other.is_thinned
        )


RUNGS = (
    Quality(0),
    Quality(1, memory_share=0.5),
    Quality(2, memory_share=0.5, is_paired=True),
    Quality(3, memory_share=0.25, is_paired=True, size_share=0.75, is_thinned=True),
    *(
        Quality(
            4 + step,
            memory_share=0.25,
            is_paired=True,
            size_share=0.75 if share > 0.3 else 0.5,
            fps_share=share,
            is_thinned=True,
        )
        for step, share in enumerate((0.7, 0.5, 0.35, 0.25, 0.18, 0.125))
    ),
)
"""What is least missed goes first: memory, then tokens a frame and those of what hardly changed,
then frames, by three tenths at a time: so equals of whom a part stands one rung lower still get
alike (Jain's index above 0.96)."""

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

    def is_at_most(self, other: "Quality") -> bool:
        """Whether nothing of it is better than in `other`."""
        return (
            self.fps_share <= other.fps_share
            and self.size_share <= other.size_share
            and self.is_paired >= other.is_paired
            and self.memory_share <= other.memory_share
        )


RUNGS = (
    Quality(0),
    Quality(1, memory_share=0.5),
    Quality(2, memory_share=0.5, is_paired=True),
    Quality(3, memory_share=0.25, is_paired=True, size_share=0.75),
    Quality(4, memory_share=0.25, is_paired=True, size_share=0.75, fps_share=0.5),
    Quality(5, memory_share=0.25, is_paired=True, size_share=0.5, fps_share=0.25),
    Quality(6, memory_share=0.25, is_paired=True, size_share=0.5, fps_share=0.125),
)
"""What is least missed goes first: memory, then tokens a frame, then frames."""

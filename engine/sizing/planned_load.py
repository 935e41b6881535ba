"""`PlannedLoad`: what people want of a server."""

from dataclasses import dataclass

from onlooker.engine.memory.budgets import MemoryBudgets


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLoad:
    """Streams, and what is asked of them."""

    streams: int
    hours: float
    """How much of each stream is remembered."""
    clips_per_s: float
    """Clips that one stream makes each second."""
    frame_width: int
    frame_height: int
    questions_per_min: float
    """About one stream."""
    recent_clips: int
    """Clips of the recent window, which new clips and answers have in their context."""
    retrieved_clips: int
    """Older clips that a question brings back."""
    stride_clips: int
    """Clips that leave the context of new clips at once."""
    share_of_memory: float
    """The share of the accelerator's memory that vLLM may take."""
    efficiency: float
    """The share of the accelerator's data sheet that is reached."""
    gpus: int
    """Accelerators over which the heads of the model are split."""
    budgets: MemoryBudgets
    """Memory of the host and the accelerator for segments that are held ready, and for the index:
    what the settings say, or what a server takes by itself."""

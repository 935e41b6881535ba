"""How busy the engine is, as it tells the gateway with every request that ends."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """How busy the engine is at one moment; an engine that does not tell has the defaults."""

    busy_ratio: float = 0.0
    """Share of the last seconds in which a step was running."""
    load_ratio: float = 0.0
    """Share in use of what the engine can do; see `onlooker.scheduler.load_meter.LoadMeter`."""
    question_wait_s: float = 0.0
    """Predicted seconds until the step that runs now has ended."""
    frame_wait_s: float = 0.0
    """Predicted seconds that the frames which wait will take."""
    question_s: float = 0.0
    """Seconds that each question ahead adds to `question_wait_s`: its prefill, or the time until a
    place is free."""
    clip_s: float = 0.0
    """Predicted seconds that one clip adds."""
    context_s: float = 0.0
    """Part of `clip_s` that goes into bringing back the clip's context."""
    frames_ratio: float = 0.0
    """Part of `load_ratio` that clips make."""
    others_ratio: float = 0.0
    """Part of `frames_ratio` that clips of other gateways make, where several share the engine."""
    room_ratio: float = 1.0
    """Share of a step of full length that is left to work, beside its floor."""
    kv_free_ratio: float = 1.0
    encoder_free_ratio: float = 1.0
    cost_error_ratio: float = 0.0
    """Mean relative error of predicted steps; see `onlooker.scheduler.cost_model.CostModel`."""
    num_steps: int = 0
    """The number of steps from which costs were learned."""
    costs: Sequence[float] = ()
    """The fields of the `CostTable`, in order."""
    has_fallen_back: bool = False
    """Whether the policy failed and the engine serves in order of arrival."""

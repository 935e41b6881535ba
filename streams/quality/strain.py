"""`Strain`: how a stream fares under the load."""

from dataclasses import dataclass, field

from onlooker.scheduler.gateway_meter import GatewayWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """At one moment; totals count from when the stream was opened."""

    source_fps: float = 0.0
    """Frames a second that come in; 0 while that is not known."""
    behind_s: float = 0.0
    """How far the model is behind now; 0 when it has seen all."""
    lag_s: float = 0.0
    """How long the newest clip took from the arrival of its last frame until it was seen."""
    num_unseen: int = 0
    """Messages and clips that wait to be seen."""
    num_lost: int = 0
    """Frames that were dropped in all because the model was behind."""
    work: GatewayWork = field(default_factory=GatewayWork)
    """What the gateway has done for this stream in all; questions are not in it."""

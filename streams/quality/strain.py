"""`Strain`: how a stream fares under the load."""

import msgspec

from onlooker.scheduler.gateway_meter import GatewayWork


class Strain(msgspec.Struct, frozen=True, kw_only=True):
    """How one stream fares at one moment; totals count from when the stream was opened."""

    source_fps: float = 0.0
    """Frames a second that come in; 0 while that is not known."""
    behind_s: float = 0.0
    """Seconds that the oldest clip on its way to the model has waited; 0 when there is none."""
    lag_s: float = 0.0
    """Seconds from the arrival of the newest seen clip's last frame until the clip was seen."""
    num_unseen: int = 0
    """Messages and clips that wait to be seen."""
    num_lost: int = 0
    """Frames that were dropped in all because the model was behind."""
    work: GatewayWork = msgspec.field(default_factory=GatewayWork)
    """What the gateway has done for this stream in all; questions are not in it."""

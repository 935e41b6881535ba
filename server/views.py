"""Engine objects as the wire tells them."""

from collections.abc import Iterable

from onlooker.core.guarantee import Guarantee
from onlooker.core.media import DropReason, ViewTrouble
from onlooker.core.protocol.album import reference_url
from onlooker.core.protocol.base import CODEC_NAMES
from onlooker.core.protocol.stream_objects import (
    Capabilities,
    FrameTotals,
    HealthWord,
    Limits,
    MaskConfig,
    MaskObject,
    SourceInfo,
    StreamObject,
)
from onlooker.engine.interface import EngineInfo
from onlooker.server.config import Settings
from onlooker.streams.ingest.tally import Tally
from onlooker.streams.lease import SourceStatus
from onlooker.streams.masks import Mask
from onlooker.streams.stream import Stream, StreamStatus

CONNECTION_OWNER = "connection "
HTTP_OWNER = "HTTP calls"
WEBRTC_OWNER = "WebRTC session "
"""How a stream names who feeds it: a connection or a WebRTC session (followed by its id), or calls
over HTTP."""


def stream_object(stream: Stream, *, source: SourceStatus | None = None) -> StreamObject:
    """A stream, with its counters now. `source`: how its source was at another time."""
    status = stream.status()
    return StreamObject(
        id=stream.name,
        created_at=status.created_wall_s,
        starts_at=status.zero_wall_s,
        clock="live" if stream.is_live else "virtual",
        persistent=stream.options.persistent,
        max_fps=stream.options.max_fps,
        gate_threshold=stream.options.gate_threshold,
        token_drop=stream.options.token_drop,
        compaction=stream.options.compaction,
        metadata=status.metadata,
        name=status.nameplate.name,
        description=status.nameplate.description,
        labels=list(status.nameplate.labels),
        reference=reference_url(stream.name) if status.has_reference else None,
        source=_source(source or status.last_source),
        totals=frame_totals(status),
        clips=status.clips,
        received_until_s=status.newest_s,
        seen_until_s=status.seen_until_s,
        lag_s=status.lag_s if status.clips else None,
        fps=round(status.fps, 2),
        service_tier=status.tier.value,
        quality_level=status.quality_level,
        viewers=status.subscribers,
        health=health_word(status.trouble),
        health_since_s=status.trouble_since_s,
        guarantee=status.guarantee,
        masks=mask_objects(status.masks),
        keep_for_s=status.keep_for_s,
        forgotten_until_s=status.forgotten_until_s,
    )


def health_word(trouble: ViewTrouble | None) -> HealthWord:
    """How a view is, in one word."""
    return "ok" if trouble is None else trouble.value


def masks_of(configs: list[MaskConfig]) -> tuple[Mask, ...]:
    """The masks that a client has sent."""
    return tuple(Mask(tuple(config.polygon), config.effect) for config in configs)


def mask_objects(masks: Iterable[Mask]) -> list[MaskObject]:
    """Masks as they are told."""
    return [MaskObject(polygon=list(one.polygon), effect=one.effect) for one in masks]


def frame_totals(counted: Tally | StreamStatus) -> FrameTotals:
    """What became of a stream's frames."""
    return FrameTotals(
        received=counted.received,
        kept=counted.kept,
        skipped=counted.skipped,
        dropped={_word(reason): count for reason, count in counted.dropped.items()},
    )


def capabilities(info: EngineInfo, guarantee: Guarantee, *, protocol_version: int) -> Capabilities:
    """What this server can do."""
    return Capabilities(
        protocol_version=protocol_version,
        codecs=list(CODEC_NAMES),
        engine_mode=info.mode,
        knows=info.knows,
        frame_width=info.frame_width,
        frame_height=info.frame_height,
        guarantee=guarantee,
        score_heads=list(info.of_checks.score_heads),
    )


def limits(settings: Settings) -> Limits:
    """What this server refuses."""
    server, streams = settings.server, settings.streams
    return Limits(
        max_message_bytes=server.max_message_bytes,
        max_frame_bytes=streams.max_frame_bytes,
        max_frame_pixels=streams.max_frame_pixels,
        max_fps=streams.max_fps,
        max_slots=server.max_slots,
        max_items=server.max_items,
        max_text_chars=server.max_text_chars,
        max_images=settings.engine.max_question_images,
        max_output_tokens=server.max_output_tokens,
        idle_timeout_s=server.idle_timeout_s,
    )


def _source(status: SourceStatus | None) -> SourceInfo:
    if status is None:
        return SourceInfo()
    is_pushed = status.owner == HTTP_OWNER or status.owner.startswith(
        (CONNECTION_OWNER, WEBRTC_OWNER)
    )
    return SourceInfo(
        kind="push" if is_pushed else "pull",
        url=None if is_pushed else status.owner,  # a pulled source goes by its address
        state=status.state.value,
        reason=status.reason or None,
        changed_at=status.changed_wall_s,
        failures=status.num_failures,
        next_try_at=status.next_try_wall_s,
    )


def _word(reason: DropReason) -> str:
    return reason.value

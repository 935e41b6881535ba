"""An alert as it travels, to connections and to webhooks alike."""

import base64

from onlooker.core.protocol.album import picture_url
from onlooker.core.protocol.watches import AlertObject, EvidenceObject
from onlooker.watches.alert import Alert


def alert_object(alert: Alert, *, stream: str | None = None) -> AlertObject:
    """`alert` for the wire, its frame in base64. `stream`: the name of the stream, where its album
    has pictures that can be linked to."""
    frame = None if alert.frame_jpeg is None else base64.b64encode(alert.frame_jpeg).decode()
    evidence = EvidenceObject(
        start_s=alert.start_s,
        end_s=alert.end_s,
        until_s=alert.until_s,
        picture=None if stream is None else picture_url(stream, alert.start_s),
    )
    return AlertObject(
        id=alert.alert_id,
        number=alert.number,
        watch=alert.watch_id,
        kind=alert.kind,
        text=alert.text,
        data=alert.data,
        problem=alert.problem,
        confidence=alert.confidence,
        evidence=evidence,
        decided_at=alert.decided_wall_s,
        staleness_s=alert.staleness_s,
        frame=frame,
        traceparent=alert.traceparent,
    )

"""`evidence_picture`: the picture that goes with an alert when it leaves the server."""

from onlooker.core.errors import OnlookerError
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.watches.alert import Alert
from onlooker.watches.outlets import AlertPicture


async def evidence_picture(alert: Alert, album: StreamAlbum | None) -> AlertPicture | None:
    """What the alert brought along, or else what the album has of the very clip; None where there
    is neither."""
    if alert.frame_jpeg is not None:
        return AlertPicture(alert.frame_jpeg, "image/jpeg")
    if album is None:
        return None
    try:
        facts = await album.at(alert.start_s)
        if facts is None or facts.end_s < alert.start_s:
            return None
        found = await album.picture(facts)
    except OnlookerError:  # the album is away or busy: an alert without a picture is better
        return None
    return None if found is None else AlertPicture(found.data, found.facts.media_type)

"""Nameplates on the wire, and a reference picture from what a client sends to what is kept."""

import asyncio
import io

import numpy as np
from PIL import Image

from onlooker.core.errors import InvalidRequest, NotFound
from onlooker.core.ids import split_stream_id
from onlooker.core.media import Pixels
from onlooker.core.protocol.stream_objects import NameplateConfig
from onlooker.server.gateway import Gateway
from onlooker.streams.mask_painter import MaskPainter
from onlooker.streams.nameplate import NameplateChanges, ReferencePicture
from onlooker.streams.stream import Stream

NOW = "now"
"""Instead of a picture: the newest of the album."""

_QUALITY = 85


def nameplate_changes(config: NameplateConfig) -> NameplateChanges:
    """What a client would change of a nameplate."""
    labels = None if config.labels is None else tuple(config.labels)
    return NameplateChanges(name=config.name, description=config.description, labels=labels)


async def set_reference(gateway: Gateway, stream: Stream, wanted: str | None) -> None:
    """Give a stream the reference picture that a client named: a data URL, or `NOW`; None takes it
    away. The stream's masks are on it.

    Raises:
        InvalidRequest, UnsupportedMedia, TooLarge: it is no picture we take.
        NotFound: there is no picture of now.
        what `NameplateHolder.set_reference` does.
    """
    if wanted is None:
        await stream.nameplate.set_reference(None)
        return
    if wanted == NOW:
        picture = await _newest(stream)
    else:
        if not wanted.startswith("data:"):
            raise InvalidRequest(
                "a reference picture is given as 'data:image/jpeg;base64,…' (or png, webp), or as "
                "'now' for the newest picture of the stream's album",
                param="reference",
            )
        tenant = split_stream_id(stream.id)[0]
        (clip,) = await gateway.pictures.read([wanted], tenant=tenant, param="reference")
        picture = await asyncio.to_thread(
            _encoded, clip.frames[0].pixels, MaskPainter(stream.privacy.all_masks)
        )
    await stream.nameplate.set_reference(picture)


async def shown_reference(stream: Stream) -> ReferencePicture:
    """A stream's reference picture, with the masks of now on it.

    Raises:
        NotFound: it has none.
    """
    picture = stream.nameplate.reference
    if picture is None:
        raise NotFound(
            f"stream '{stream.name}' has no reference picture: give it one with PATCH "
            f'/v1/streams/{stream.name} {{"reference": "data:image/jpeg;base64,…"}}',
            param="reference",
        )
    if not stream.privacy.all_masks:
        return picture
    return await asyncio.to_thread(_masked, picture, MaskPainter(stream.privacy.all_masks))


async def _newest(stream: Stream) -> ReferencePicture:
    album = stream.album
    facts = None if album is None else await album.at(float("inf"))
    found = None if album is None or facts is None else await album.picture(facts)
    if found is None:
        raise NotFound(
            f"stream '{stream.name}' has no picture of now: send one as 'data:image/jpeg;base64,…'",
            param="reference",
        )
    return ReferencePicture(found.data, found.facts.media_type)


def _masked(picture: ReferencePicture, painter: MaskPainter) -> ReferencePicture:
    with Image.open(io.BytesIO(picture.data)) as image:
        return _encoded(np.asarray(image.convert("RGB")), painter)


def _encoded(pixels: Pixels, painter: MaskPainter) -> ReferencePicture:
    data = io.BytesIO()
    Image.fromarray(painter.painted(pixels)).save(data, "JPEG", quality=_QUALITY)
    return ReferencePicture(data.getvalue(), "image/jpeg")

"""Pictures for albums, and what an album says that it has."""

import math

from onlooker.cache_store.album import Album, AlbumPicture, NewPicture, PictureFacts
from onlooker.cache_store.albums.thinning import Budgets

STREAM = "default/door"
SIZE = 1000


def make_budgets(**limits: int) -> Budgets:
    """Budgets that are as good as none, but for `limits`."""
    given = {
        "max_bytes": 1 << 30,
        "max_tenant_bytes": 1 << 30,
        "max_stream_bytes": 1 << 30,
        "max_streams": 100,
    }
    return Budgets(**{**given, **limits})


def make_picture(
    clip_index: int,
    *,
    start_s: float | None = None,
    change: float = 0.5,
    wall_s: float = 0.0,
    data: bytes = b"x" * SIZE,
) -> AlbumPicture:
    """A picture of a clip that begins at `start_s`, by default at as many seconds as its index."""
    start_s = float(clip_index) if start_s is None else start_s
    facts = PictureFacts(
        clip_index=clip_index,
        start_s=start_s,
        end_s=start_s + 0.5,
        wall_s=wall_s,
        width=8,
        height=6,
        media_type="image/jpeg",
        change=change,
        num_bytes=len(data),
    )
    return AlbumPicture(facts=facts, data=data)


def clips(album: Album, stream: str = STREAM) -> list[int]:
    """The clips of which an album has pictures, in order of time."""
    found = album.facts(stream, -math.inf, math.inf, limit=100_000)
    return [facts.clip_index for facts in found]


def fill(album: Album, *pictures: AlbumPicture, stream: str = STREAM) -> None:
    """Add pictures to an album, one by one."""
    for picture in pictures:
        album.add([NewPicture(stream=stream, picture=picture)])

"""Pictures at an address, fetched again and again; GIFs; and logins over HTTP."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onlooker.core.errors import InvalidRequest
from onlooker.streams.sources.spec import SourceSpec
from tests.fakes import digests
from tests.fakes.pictures import encode, make_pixels
from tests.fakes.pulling import NOTHING, pulled
from tests.fakes.streams import running_hub
from tests.fakes.web import Reply, web

KINDS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
EVERY_PICTURE = {"perception": {"clip_interval_s": 0.1, "gate_threshold": 0}}
LOGIN = ("me", "p@ss:word")


def picture(colour: str, kind: str = "JPEG") -> bytes:
    return encode(make_pixels(colour, width=64, height=64), kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_picture_is_fetched_again_and_again(kind: str) -> None:
    colours = iter(["red", "green", "blue"])

    def reply(path: str, headers: Mapping[str, str]) -> Reply:
        colour = next(colours, None)
        return Reply(status=404) if colour is None else Reply(picture(colour, kind), KINDS[kind])

    with web(reply) as server:
        found = await pulled(
            SourceSpec(f"{server.url}/now", every_s=0.1), min_every_s=0.1, streams=EVERY_PICTURE
        )
    assert found.seen == "I have seen these colours: red, green, blue."
    assert found.state == "lost"
    assert "status 404" in found.reason


async def test_a_picture_that_has_not_changed_is_not_sent_again_and_counts_on() -> None:
    def reply(path: str, headers: Mapping[str, str]) -> Reply:
        if len(server.asked) > 8:
            return Reply(status=404)
        if headers.get("if-none-match") == '"1"' and headers.get("if-modified-since") == "today":
            return Reply(status=304, media_type="")
        return Reply(picture("red"), headers={"ETag": '"1"', "Last-Modified": "today"})

    with web(reply) as server:
        found = await pulled(SourceSpec(f"{server.url}/now", every_s=0.01), min_every_s=0.01)
    assert found.seen == "I have seen these colours: red."
    assert "status 404" in found.reason
    assert all("if-none-match" in headers for _, headers in server.asked[1:])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"GIF89a" + bytes(99), "it is a GIF, which is played as video"),
        (b"<html>", "it is no JPEG, PNG or WebP (image/jpeg)"),
        (b"", "it is empty"),
        (b"\xff\xd8\xff" + bytes(5000), "larger than 4096 bytes"),
    ],
)
async def test_what_is_no_picture_says_so(body: bytes, said: str) -> None:
    with web(lambda path, headers: Reply(body, "image/jpeg")) as server:
        source = SourceSpec(f"{server.url}/now", every_s=1)
        found = await pulled(source, streams={"max_frame_bytes": 4096})
    assert found.state == "failed"
    assert said in found.reason


async def test_an_animated_gif_is_played() -> None:
    frames = [Image.new("P", (64, 64)) for _ in range(3)]
    for frame, colour in zip(frames, ((200, 0, 0), (0, 200, 0), (0, 0, 200)), strict=True):
        frame.putpalette(list(colour) * 256)
    target = io.BytesIO()
    frames[0].save(target, "GIF", save_all=True, append_images=frames[1:], duration=1000)
    with web(lambda path, headers: Reply(target.getvalue(), "image/gif")) as server:
        found = await pulled(f"{server.url}/door.gif")
    assert found.seen == "I have seen these colours: red, green, blue."
    assert (found.state, found.reason) == ("ended", "it ended")


def films(num: int) -> bytes:
    """Pictures of different colours, one behind the other, of the size that cameras send."""
    noise = np.random.default_rng(7).integers(0, 40, (480, 640, 3), np.uint8)
    colours = ("red", "green", "blue")[:num]
    pictures = [np.maximum(make_pixels(one, width=640, height=480), noise) for one in colours]
    return b"".join(encode(one) for one in pictures)


@pytest.mark.parametrize("place", ["on disk", "on the web"])
@pytest.mark.parametrize("name", ["door.mjpeg", "door"])
async def test_jpegs_that_follow_each_other_are_video_and_one_alone_is_a_picture(
    place: str, name: str, tmp_path: Path
) -> None:
    found = []
    for num in (3, 1):
        (tmp_path / name).write_bytes(films(num))
        with web(lambda path, headers: Reply((tmp_path / name).read_bytes())) as server:
            url = str(tmp_path / name) if place == "on disk" else f"{server.url}/{name}"
            source = SourceSpec(url, nominal_fps=1.0)
            found.append(await pulled(source, file_dirs=[str(tmp_path)]))
    several, single = found
    assert several.reason == "it ended"
    assert several.seen == "I have seen these colours: red, green, blue."
    assert single.seen == NOTHING
    assert single.state == "failed"
    assert "a single picture (JPEG), not video" in single.reason
    assert ("push it" in single.reason) == (place == "on disk")


def two_in_one(size: tuple[int, int], *, is_listed: bool) -> bytes:
    """A red picture of 96 x 64 with a blue one of `size` behind it in the same file, which it lists
    as phones and cameras do, or not, as older ones do."""
    red, blue = Image.new("RGB", (96, 64), "red"), Image.new("RGB", size, "blue")
    if not is_listed:
        return encode(red) + encode(blue)
    buffer = io.BytesIO()
    red.save(buffer, "MPO", save_all=True, append_images=[blue])
    return buffer.getvalue()


TWO_IN_ONE = {
    "a preview": two_in_one((48, 32), is_listed=True),
    "a preview, not listed": two_in_one((48, 32), is_listed=False),
    "a twin": two_in_one((96, 64), is_listed=True),
    "a film": encode(make_pixels("red", width=64, height=64)) + b"\0\0\0\x18ftyp" + bytes(3000),
}


@pytest.mark.parametrize("what", TWO_IN_ONE)
async def test_a_picture_with_more_behind_it_in_its_file_is_a_picture(
    what: str, tmp_path: Path
) -> None:
    path, payload = tmp_path / "phone.jpg", TWO_IN_ONE[what]
    path.write_bytes(payload)
    found = await pulled(str(path), file_dirs=[str(tmp_path)])
    assert (found.state, found.seen) == ("failed", NOTHING)
    assert "a single picture (JPEG), not video" in found.reason
    with web(lambda path, headers: Reply(payload)) as server:
        found = await pulled(f"{server.url}/phone.jpg")
        assert "a single picture (JPEG), not video" in found.reason
        source = SourceSpec(f"{server.url}/phone.jpg", every_s=0.1)
        found = await pulled(source, min_every_s=0.1, num_clips=2)
    assert found.seen == "I have seen these colours: red."


def digest(path: str, headers: Mapping[str, str]) -> Reply:
    header = headers.get("authorization")
    if digests.is_right(header, method="GET", path=path, login=LOGIN):
        return Reply(picture("red"))
    return Reply(status=401, headers={"WWW-Authenticate": digests.CHALLENGE})


def basic(path: str, headers: Mapping[str, str]) -> Reply:
    if headers.get("authorization") == "Basic bWU6cEBzczp3b3Jk":
        return Reply(picture("red"))
    return Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="door"'})


@pytest.mark.parametrize("ask", [digest, basic])
async def test_a_server_gets_the_login_that_it_asks_for(ask: object) -> None:
    num_right = 0

    def reply(path: str, headers: Mapping[str, str]) -> Reply:
        nonlocal num_right
        answer: Reply = ask(path, headers)  # type: ignore[operator]  # one of the two above
        num_right += answer.status == 200
        return Reply(status=404) if num_right > 2 else answer

    with web(reply) as server:
        url = server.url.replace("http://", "http://me:p%40ss%3Aword@") + "/now?size=a%20b&n=[1]"
        found = await pulled(SourceSpec(url, every_s=0.01), min_every_s=0.01)
    assert found.seen == "I have seen these colours: red."
    asked = [headers.get("authorization", "") for _, headers in server.asked]
    assert asked[0] == ""  # a password is not sent before it is asked for
    assert len(asked) == 4  # asked once, answered, and then sent at once


@pytest.mark.parametrize("ask", [digest, basic])
async def test_a_wrong_password_is_said(ask: object) -> None:
    with web(ask) as server:  # type: ignore[arg-type]  # one of the two above
        url = server.url.replace("http://", "http://me:wrong@") + "/now.jpg"
        found = await pulled(SourceSpec(url, every_s=1))
    assert found.state == "failed"
    assert "refuses this user name or password (status 401)" in found.reason
    assert "wrong" not in found.reason
    assert found.seen == NOTHING


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (SourceSpec("http://8.8.8.8/", every_s=0.1), "every 0.2 s at most"),
        (SourceSpec("rtsp://8.8.8.8/", every_s=1), "'every_s' is for a picture"),
        (SourceSpec("http://8.8.8.8/", transport="udp"), "'transport' is for rtsp"),
        (SourceSpec("rtsps://8.8.8.8/", transport="udp"), "would not be encrypted"),
        (SourceSpec("rtsp://8.8.8.8/", loop=True), "'loop' is for files"),
        (SourceSpec("rtsp://8.8.8.8/", nominal_fps=5), "'nominal_fps' is for files"),
        (SourceSpec("http://8.8.8.8/", nominal_fps=5, every_s=1), "'nominal_fps' is for files"),
    ],
)
async def test_an_option_that_would_have_no_effect_is_refused(
    source: SourceSpec, said: str
) -> None:
    async with running_hub() as hub:
        stream = await hub.open_stream()
        with pytest.raises(InvalidRequest, match=said):
            await hub.pull(stream, source)

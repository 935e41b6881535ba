"""Files that people really have, from end to end: `tests/data` holds them."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.media import Codec, EncodedFrame, Pixels
from onlooker.streams.perception.pieces import PieceDecoder
from onlooker.streams.perception.stills import decode_still
from tests.fakes.pictures import in_pieces
from tests.fakes.served import Served, jpeg, serving
from tests.fakes.waiting import limited, until

DATA = Path(__file__).parents[2] / "data"


async def told(served: Served, stream: str) -> list[dict[str, Any]]:
    """All that followers of a stream are told, up to the end of its source."""
    events: list[dict[str, Any]] = []
    url = f"/v1/streams/{stream}/events?after=0"
    async with (
        limited("the end of the source"),
        served.http() as http,
        http.stream("GET", url) as reply,
    ):
        async for line in reply.aiter_lines():
            if line.startswith("data:"):
                events.append(json.loads(line.removeprefix("data:")))
                if events[-1].get("reason") == "source ended":
                    return events
    raise AssertionError("the source never ended")


async def asked(served: Served, stream: str, at_s: float) -> str:
    """The colours that were seen up to a time, newest last."""
    body = {"question": "Which colours?", "at_s": at_s}
    async with served.http() as http:
        reply = await http.post(f"/v1/streams/{stream}/questions", json=body)
    answer: str = reply.json()["answer"]
    return answer.removeprefix("I have seen these colours: ").rstrip(".")


async def pulled(served: Served, name: str, **options: Any) -> dict[str, Any]:
    """Pull a file to its end on the virtual clock; the stream as it is then."""
    body = {"id": "s", "clock": "virtual", "source": {"url": f"file://{DATA}/{name}"}, **options}
    async with served.http() as http:
        reply = await http.post("/v1/streams", json=body)
        assert reply.status_code == 201, reply.text
        made = served.gateway.hub.get("s")
        await until(lambda: made.status().source is None and not made.ingest.is_busy)
        stream: dict[str, Any] = (await http.get("/v1/streams/s")).json()
    return stream


def serving_files(**settings: Any) -> Any:
    return serving(
        streams__sources__schemes=("file",),
        streams__sources__file_dirs=(str(DATA),),
        streams__perception__gate_threshold=0.0,
        **settings,
    )


async def test_a_hold_of_a_minute_in_a_file_is_a_minute() -> None:
    async with serving_files() as served:
        stream = await pulled(served, "hold.mp4")
        assert stream["seen_until_s"] == pytest.approx(69.5)
        assert await asked(served, "s", 30.0) == "red"
        assert await asked(served, "s", 66.0) == "red, green"
        jumps = [event for event in await told(served, "s") if event["type"] == "stream.time"]
    assert [(jump["kind"], jump["at_s"], jump["by_s"]) for jump in jumps] == [("gap", 65.0, 60.0)]


async def test_raw_h264_gives_all_its_pictures_at_its_nominal_rate() -> None:
    async with serving_files(streams__perception__clip_interval_s=0.02) as served:
        stream = await pulled(served, "cam.h264")
    assert stream["totals"]["kept"] == 60
    assert stream["totals"]["dropped"] == {}
    assert stream["seen_until_s"] == pytest.approx(5.9)


@pytest.mark.parametrize("name", ["h264_sets_apart", "h264_sets_once_one_broken"])
async def test_h264_whose_parameter_sets_come_once_is_seen_to_its_end(name: str) -> None:
    lines = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]
    async with serving_files() as served, served.http() as http:
        await http.post("/v1/streams", json={"id": "s", "clock": "virtual"})
        stream = served.gateway.hub.get("s")
        for index, line in enumerate(lines):
            payload = base64.b64decode(line["payload"])
            await stream.push_wait(EncodedFrame(index, line["at_s"], Codec.H264, payload, 0.0))
        status = stream.status()
    assert status.kept >= 6
    assert status.newest_s == pytest.approx(4.0, abs=0.2)


async def test_a_phones_recording_that_is_pushed_in_pieces_is_upright() -> None:
    data = (DATA / "phone_frag.mp4").read_bytes()
    decoder = PieceDecoder(Codec.FMP4, width=64, height=64, max_pixels=10**7)
    pictures = []
    for index, piece in enumerate(in_pieces(data, 2000)):
        message = EncodedFrame(index, 0.0, Codec.FMP4, piece, 0.0)
        pictures += decoder.decode(message, lambda at_s: True)
    pictures += decoder.finish(lambda at_s: True)
    assert len(pictures) == 40
    assert all(is_red_over_blue(picture.whole) for picture in pictures)


def test_a_phones_picture_is_upright() -> None:
    payload = (DATA / "phone.jpg").read_bytes()
    assert is_red_over_blue(still(payload, Codec.JPEG))


def test_a_drawing_on_nothing_can_be_seen() -> None:
    pixels = still((DATA / "drawing_on_nothing.png").read_bytes(), Codec.PNG)
    assert pixels.max() > 200
    assert pixels.min() < 60


async def test_a_picture_of_400_scans_is_refused_and_holds_up_nobody() -> None:
    costly, headers = (DATA / "scans_400.jpg").read_bytes(), {"content-type": "image/jpeg"}
    async with serving(decodes_in_processes=True) as served, served.http() as http:
        for name in ("costly", "other"):
            assert (await http.post("/v1/streams", json={"id": name})).is_success
        path = "/v1/streams/{}/frames"
        decoding = asyncio.create_task(
            http.post(path.format("costly"), content=costly, headers=headers)
        )
        await until(lambda: not served.gateway.hub.is_decoding_idle)
        other = await http.post(path.format("other"), content=jpeg(), headers=headers)
        is_first = not decoding.done()
        refused = await decoding
        status = (await http.get("/v1/streams/costly")).json()
    assert other.json()["outcome"] == "kept"
    assert is_first
    assert refused.status_code == 413
    assert "processor time" in refused.json()["error"]["message"]
    assert status["totals"]["dropped"] == {"too_costly": 1}


def still(payload: bytes, codec: Codec) -> Pixels:
    return decode_still(payload, codec, width=64, height=64, max_pixels=10**7)


def is_red_over_blue(pixels: Pixels) -> bool:
    top, bottom = pixels[8, 32].astype(int), pixels[-8, 32].astype(int)
    return bool(top[0] > 150 > 80 > top[2] and bottom[2] > 150 > 80 > bottom[0])

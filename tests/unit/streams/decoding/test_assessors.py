import asyncio
import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from onlooker.core.media import Codec, DropReason, Pixels
from onlooker.core.metrics import Metrics
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding import assessors
from onlooker.streams.decoding.assessor import Assessed
from onlooker.streams.decoding.assessors import StillToAssess, found_in
from onlooker.streams.decoding.process_decoders import WorkerPool
from onlooker.streams.decoding.wire import DecodeReply
from onlooker.streams.perception.decoders import LentPicture, Shape
from onlooker.streams.perception.gate import Before, LeastNews, Resemblance, resemblance, thumbnail
from onlooker.streams.perception.stills import Undecodable, decode_still
from tests.fakes.costly import endless_jpeg
from tests.fakes.pictures import encode, make_pixels

SHAPE = Shape(64, 48, max_pixels=4096 * 4096)
NOTHING = Before()
ALL = LeastNews()
WAIT_S = 20.0


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(DecodingSection(workers=2, still_budget_s=0.5), Metrics())
    try:
        yield pool
    finally:
        pool.close()


async def assess(
    pool: WorkerPool,
    payload: bytes,
    codec: Codec = Codec.JPEG,
    before: Before = NOTHING,
    shape: Shape = SHAPE,
) -> tuple[Pixels, Resemblance]:
    found = await told_of(pool, payload, codec, before, shape)
    assert found.pixels is not None
    return found.pixels, found.resemblance


async def told_of(
    pool: WorkerPool,
    payload: bytes,
    codec: Codec,
    before: Before,
    shape: Shape = SHAPE,
    least: LeastNews = ALL,
) -> LentPicture:
    asked = StillToAssess(payload=payload, codec=codec, shape=shape, before=before, least=least)
    async with asyncio.timeout(WAIT_S):
        told: asyncio.Future[LentPicture | Undecodable] = asyncio.Future()
        pool.assess(asked, lambda spent_s: None, told.set_result)
        found = await told
    if isinstance(found, Undecodable):
        raise found
    return found


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG, Codec.WEBP])
async def test_a_still_is_decoded_and_compared_as_it_is_here(
    pool: WorkerPool, codec: Codec
) -> None:
    kept, previous, next_ = (
        encode(make_pixels(colour), codec.name) for colour in ("red", "green", "blue")
    )
    here = [
        decode_still(one, codec, width=64, height=48, max_pixels=10**6)
        for one in (kept, previous, next_)
    ]
    before = Before(thumbnail(here[0]), thumbnail(here[1]))
    pixels, looks = await assess(pool, next_, codec, before)
    expected = resemblance(thumbnail(here[2]), before)
    assert np.array_equal(pixels, here[2])
    assert looks.difference == pytest.approx(expected.difference, abs=0.02)
    assert looks.change == pytest.approx(expected.change, abs=0.02)
    assert np.abs(looks.thumbnail.astype(int) - expected.thumbnail).max() <= 4


async def test_the_first_still_is_unlike_anything_and_no_cut(pool: WorkerPool) -> None:
    _, looks = await assess(pool, encode(make_pixels()))
    assert (looks.difference, looks.change) == (1.0, 0.0)


async def test_the_same_still_is_like_itself(pool: WorkerPool) -> None:
    payload = encode(make_pixels())
    _, first = await assess(pool, payload)
    _, again = await assess(pool, payload, before=Before(first.thumbnail, first.thumbnail))
    assert (again.difference, again.change) == (0.0, 0.0)


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG])
async def test_the_pixels_of_a_still_that_is_like_those_before_it_are_not_told(
    pool: WorkerPool, codec: Codec
) -> None:
    least = LeastNews(0.1, 0.1)
    red, green = (encode(make_pixels(colour), codec.name) for colour in ("red", "green"))
    first = await told_of(pool, red, codec, NOTHING, least=least)
    assert first.pixels is not None
    before = Before(first.resemblance.thumbnail, first.resemblance.thumbnail)
    again = await told_of(pool, red, codec, before, least=least)
    assert again.pixels is None
    assert (again.resemblance.difference, again.resemblance.change) == (0.0, 0.0)
    assert np.array_equal(again.resemblance.thumbnail, first.resemblance.thumbnail)
    assert (await told_of(pool, green, codec, before, least=least)).pixels is not None


async def test_a_still_of_more_bytes_than_a_socket_takes_at_once_is_decoded(
    pool: WorkerPool,
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (800, 1000, 3), dtype=np.uint8)
    payload = encode(noise, "PNG")
    assert len(payload) > 2_000_000
    pixels, _ = await assess(pool, payload, Codec.PNG)
    assert pixels.shape == (48, 64, 3)


async def test_more_pixels_than_a_socket_takes_at_once_come_back(
    pool: WorkerPool,
) -> None:
    shape = Shape(2400, 2400, max_pixels=6_000_000)
    pixels, _ = await assess(pool, encode(make_pixels(), "PNG"), Codec.PNG, shape=shape)
    assert pixels.shape == (2400, 2400, 3)


async def test_a_costly_still_is_ended_while_others_are_served(pool: WorkerPool) -> None:
    costly = asyncio.ensure_future(assess(pool, endless_jpeg()))
    while not costly.done():
        pixels, _ = await assess(pool, encode(make_pixels()))
        assert pixels.shape == (48, 64, 3)
    with pytest.raises(Undecodable, match="processor time") as raised:
        await costly
    assert raised.value.reason is DropReason.TOO_COSTLY


async def test_a_broken_still_says_what_is_wrong(pool: WorkerPool) -> None:
    with pytest.raises(Undecodable) as raised:
        await assess(pool, b"no picture")
    assert raised.value.reason is DropReason.UNDECODABLE


async def test_a_still_survives_the_death_of_every_process(pool: WorkerPool) -> None:
    await assess(pool, encode(make_pixels()))
    assert pool._nursery._process is not None
    os.killpg(pool._nursery._process.pid, signal.SIGKILL)
    for _ in range(3):
        pixels, _ = await assess(pool, encode(make_pixels()))
        assert pixels.shape == (48, 64, 3)


async def test_a_process_that_does_not_answer_is_given_up(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await assess(pool, encode(make_pixels()))
    monkeypatch.setattr(assessors, "wall_limit_s", lambda budget_s: 0.05)
    monkeypatch.setattr(assessors, "_CHECK_S", 0.02)
    assert pool._nursery._process is not None
    os.kill(pool._nursery._process.pid, signal.SIGSTOP)  # nor can another one be begun
    for one in pool._assessors._idle:
        one.end()
    pool._assessors._idle.clear()
    with pytest.raises(Undecodable):
        await assess(pool, encode(make_pixels()))


async def test_no_more_processes_stay_than_stand_ready(pool: WorkerPool) -> None:
    await asyncio.gather(*(assess(pool, encode(make_pixels())) for _ in range(6)))
    assert pool._assessors.num_idle == 2


async def test_closing_ends_what_is_being_assessed(pool: WorkerPool) -> None:
    assessing = asyncio.ensure_future(assess(pool, encode(make_pixels())))
    await asyncio.sleep(0)
    pool.close()
    with pytest.raises(Undecodable):
        await assessing


@pytest.mark.parametrize(
    "reply",
    [
        DecodeReply(times_s=(0.0,), difference=float("nan")),
        DecodeReply(times_s=(0.0,), change="no"),  # type: ignore[arg-type]
        DecodeReply(reason="nonsense"),
    ],
)
def test_a_reply_that_makes_no_sense_is_no_picture(reply: DecodeReply) -> None:
    body = memoryview(bytes(1 << 20))
    assert isinstance(found_in(Assessed(reply, body), SHAPE), Undecodable)


def test_a_reply_without_all_its_bytes_is_no_picture() -> None:
    found = found_in(Assessed(DecodeReply(times_s=(0.0,)), memoryview(bytes(100))), SHAPE)
    assert isinstance(found, Undecodable)
    assert "reply" in str(found)

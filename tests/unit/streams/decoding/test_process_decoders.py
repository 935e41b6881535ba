"""Real decoder processes, and inputs that would keep a decoder busy."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from onlooker.core.media import Codec, DropReason, EncodedFrame
from onlooker.core.metrics import Metrics
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding import worker
from onlooker.streams.decoding.process_decoders import WorkerPool
from onlooker.streams.decoding.process_video import ProcessVideo
from onlooker.streams.perception.chunks import Picture
from onlooker.streams.perception.decoders import Shape, VideoDecoder
from onlooker.streams.perception.gate import Before, Comparison, LeastNews, resemblance
from onlooker.streams.perception.picker import Picker
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.perception.stream_time import TimeJump
from tests.fakes.costly import animation, endless_jpeg, interlaced_png
from tests.fakes.decoders import LocalDecoders
from tests.fakes.pictures import (
    encode,
    encode_chunks,
    in_pieces,
    make_pixels,
    record,
    sets_of,
    without_sets,
)
from tests.fakes.processes import children
from tests.fakes.recordings import moved, parts_of, time_scale
from tests.fakes.turned import turned_video

SHAPE = Shape(64, 48, max_pixels=4096 * 4096)
GAPLESS = Shape(64, 48, max_pixels=4096 * 4096, max_gap_s=60.0)
WAIT_S = 30.0


class Spent:
    """What was spent for a sender."""

    def __init__(self) -> None:
        self.total_s = 0.0

    def __call__(self, spent_s: float) -> None:
        self.total_s += spent_s


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(DecodingSection(workers=2), Metrics())
    made.start()
    yield made
    made.close()


def ended(pool: WorkerPool, why: str) -> float:
    found = pool._metrics.registry.get_sample_value("onlooker_decoders_ended_total", {"why": why})
    return found or 0.0


def process_of(video: VideoDecoder) -> int:
    """The id of a video's decoder process."""
    assert isinstance(video, ProcessVideo)
    assert video._process is not None
    assert isinstance(video._pool, WorkerPool)
    nursery = video._pool._nursery._process
    assert nursery is not None
    return list(children(nursery.pid))[-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_still_comes_out_as_it_does_here(pool: WorkerPool, kind: str) -> None:
    rng = np.random.default_rng(3)
    payload = encode(rng.integers(0, 255, (120, 200, 3), dtype=np.uint8), kind)
    there = pool.decoders(Spent()).still(payload, Codec[kind], SHAPE)
    here = LocalDecoders().still(payload, Codec[kind], SHAPE)
    assert there.tobytes() == here.tobytes()
    assert there.flags.writeable


def test_a_still_without_end_is_too_costly_and_paid_for(pool: WorkerPool) -> None:
    spent, before = Spent(), ended(pool, "too_costly")
    with pytest.raises(Undecodable, match="processor time") as raised:
        pool.decoders(spent).still(endless_jpeg(), Codec.JPEG, SHAPE)
    assert raised.value.reason is DropReason.TOO_COSTLY
    assert spent.total_s >= pool.settings.still_budget_s
    assert ended(pool, "too_costly") == before + 1


def test_others_are_served_while_a_still_without_end_is_decoded(pool: WorkerPool) -> None:
    honest, costly = pool.decoders(Spent()), pool.decoders(Spent())
    with ThreadPoolExecutor(1) as attacker:
        lost = attacker.submit(costly.still, endless_jpeg(), Codec.JPEG, SHAPE)
        while not lost.done():
            assert honest.still(encode(make_pixels()), Codec.JPEG, SHAPE).shape == (48, 64, 3)
        with pytest.raises(Undecodable):
            lost.result()


def test_an_honest_picture_of_many_pixels_has_a_larger_budget() -> None:
    tight = WorkerPool(
        DecodingSection(workers=1, still_budget_s=0.02, megapixel_budget_s=1.0), Metrics()
    )
    try:
        rng = np.random.default_rng(3)
        payload = encode(rng.integers(0, 255, (1500, 2000, 3), dtype=np.uint8), "WEBP")
        assert tight.decoders(Spent()).still(payload, Codec.WEBP, SHAPE).shape == (48, 64, 3)
    finally:
        tight.close()


@pytest.mark.parametrize(
    ("payload", "codec"),
    [
        (interlaced_png(side=512), Codec.PNG),
        (animation("WEBP", 300), Codec.WEBP),
    ],
    ids=["interlaced", "animated"],
)
def test_an_odd_still_yields_its_first_picture_within_the_budget(
    pool: WorkerPool, payload: bytes, codec: Codec
) -> None:
    assert pool.decoders(Spent()).still(payload, codec, SHAPE).shape == (48, 64, 3)


def test_a_still_is_refused_as_it_is_here(pool: WorkerPool) -> None:
    decoders = pool.decoders(Spent())
    with pytest.raises(Undecodable) as broken:
        decoders.still(b"no picture", Codec.JPEG, SHAPE)
    assert broken.value.reason is DropReason.UNDECODABLE
    with pytest.raises(Undecodable) as huge:
        decoders.still(encode(make_pixels()), Codec.JPEG, Shape(64, 48, max_pixels=100))
    assert huge.value.reason is DropReason.TOO_LARGE
    with pytest.raises(Undecodable) as foreign:
        decoders.still(animation("GIF", 50), Codec.WEBP, SHAPE)
    assert foreign.value.reason is DropReason.UNDECODABLE


def test_a_still_survives_the_death_of_every_process(pool: WorkerPool) -> None:
    assert pool._nursery._process is not None
    os.killpg(pool._nursery._process.pid, signal.SIGKILL)
    assert pool.decoders(Spent()).still(encode(make_pixels()), Codec.JPEG, SHAPE) is not None


def num_processes(pool: WorkerPool) -> int:
    """How many decoder processes there are, once those that were told to end have."""
    assert pool._nursery._process is not None
    return len(children(pool._nursery._process.pid))


def await_processes(pool: WorkerPool, number: int) -> None:
    """Until there are so many."""
    until_s = time.monotonic() + WAIT_S
    while (found := num_processes(pool)) != number:
        assert time.monotonic() < until_s, f"{found} decoder processes in place of {number}"


def test_a_process_that_was_killed_is_replaced_at_once() -> None:
    pool = WorkerPool(DecodingSection(workers=2), Metrics())
    pool.start()
    try:
        for _ in range(3):
            with pytest.raises(Undecodable):
                pool.decoders(Spent()).still(endless_jpeg(), Codec.JPEG, SHAPE)
        await_processes(pool, 2)
        assert len(pool._idle) == 2
    finally:
        pool.close()


def test_processes_beyond_those_that_stand_ready_end_when_they_are_free() -> None:
    pool = WorkerPool(DecodingSection(workers=2), Metrics())
    pool.start()
    try:
        with ExitStack() as lent:
            for _ in range(4):
                lent.enter_context(pool.lend(is_fresh=False))
            await_processes(pool, 4)
        await_processes(pool, 2)
        assert pool.decoders(Spent()).still(encode(make_pixels()), Codec.JPEG, SHAPE) is not None
    finally:
        pool.close()


def test_a_decoder_that_is_asked_nothing_gives_back_memory_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times, given = list[int](), threading.Event()

    def give_back() -> None:
        times.append(1)
        given.set()

    monkeypatch.setattr(worker, "QUIET_S", 0.001)
    monkeypatch.setattr(worker, "give_back_memory", give_back)
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=worker.serve, args=(theirs,))
    serving.start()
    try:
        assert given.wait(WAIT_S)
    finally:
        ours.close()
        serving.join(WAIT_S)
        theirs.close()
    assert not serving.is_alive()
    assert times == [1]


def test_closing_ends_what_is_being_decoded_at_once() -> None:
    pool = WorkerPool(DecodingSection(workers=1, still_budget_s=60), Metrics())
    decoders = pool.decoders(Spent())
    decoders.still(encode(make_pixels()), Codec.JPEG, SHAPE)  # the process is there
    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(decoders.still, endless_jpeg(20_000), Codec.JPEG, SHAPE)
        while not job.running():
            threading.Event().wait(0.001)
        begun_s = time.monotonic()
        pool.close()
        with pytest.raises(Undecodable):
            job.result(WAIT_S)
    assert time.monotonic() - begun_s < 5.0


class Feed:
    """Feeds a source to a decoder, and keeps what came out by time."""

    def __init__(self, video: VideoDecoder, codec: Codec) -> None:
        self.video, self._codec = video, codec
        self._sampler = Sampler(0.2)
        self._newest_s: float | None = None
        self.pictures: list[Picture] = []
        self.reasons: list[DropReason] = []
        self.jumps: list[TimeJump] = []

    async def send(self, capture_s: float, payload: bytes) -> None:
        picker = Picker(self._sampler, self._newest_s)
        message = EncodedFrame(0, capture_s, self._codec, payload, 0.0)
        found: asyncio.Future[list[Picture] | Undecodable] = asyncio.Future()
        self.video.decode(message, picker, follows_gap=False, tell=found.set_result)
        await self._take(found)
        self.jumps += picker.jumps

    async def finish(self) -> None:
        found: asyncio.Future[list[Picture] | Undecodable] = asyncio.Future()
        self.video.finish(Picker(self._sampler, self._newest_s), found.set_result)
        await self._take(found)
        self.video.close()

    async def _take(self, told: "asyncio.Future[list[Picture] | Undecodable]") -> None:
        async with asyncio.timeout(WAIT_S):
            found = await told
        if isinstance(found, Undecodable):
            self.reasons.append(found.reason)
            return
        self.pictures += found
        if found:
            self._newest_s = found[-1].capture_s

    @property
    def times_s(self) -> list[float]:
        return [round(picture.capture_s, 3) for picture in self.pictures]


@pytest.mark.parametrize(("codec", "encoder"), [(Codec.H264, "libx264"), (Codec.VP8, "libvpx")])
async def test_coded_video_comes_out_as_it_does_here(
    pool: WorkerPool, codec: Codec, encoder: str
) -> None:
    chunks = encode_chunks(encoder)
    feeds = []
    for decoders in (pool.decoders(Spent()), LocalDecoders()):
        feed = Feed(decoders.open_video(codec, SHAPE), codec)
        for index, chunk in enumerate(chunks):
            await feed.send(index / 10, chunk)
        await feed.finish()
        feeds.append(feed)
    there, here = feeds
    assert there.times_s == here.times_s
    assert len(there.pictures) > 5
    for one, other in zip(there.pictures, here.pictures, strict=True):
        assert one.whole.tobytes() == other.whole.tobytes()


async def compared(
    video: VideoDecoder, codec: Codec, index: int, payload: bytes, comparison: Comparison
) -> list[Picture]:
    """What a message decodes to where its picture may be compared."""
    message = EncodedFrame(index, index / 10, codec, payload, 0.0)
    found: asyncio.Future[list[Picture] | Undecodable] = asyncio.Future()
    picker = Picker(Sampler(0.1), None)
    video.decode(message, picker, follows_gap=False, tell=found.set_result, comparison=comparison)
    async with asyncio.timeout(WAIT_S):
        pictures = await found
    assert not isinstance(pictures, Undecodable)
    return pictures


async def test_a_picture_of_coded_video_is_compared_where_it_is_decoded(pool: WorkerPool) -> None:
    first, second, third = encode_chunks("libx264")[:3]
    video = pool.decoders(Spent()).open_video(Codec.H264, SHAPE)
    all_ = LeastNews()
    (one,) = await compared(video, Codec.H264, 0, first, Comparison(Before(), all_))
    assert one.thumbnail is not None
    assert one.looks is not None
    assert (one.looks.difference, one.looks.change) == (1.0, 0.0)
    before = Before(np.full_like(one.thumbnail, 7), one.thumbnail)
    (two,) = await compared(video, Codec.H264, 1, second, Comparison(before, all_))
    assert two.thumbnail is not None
    assert two.looks is not None
    expected = resemblance(two.thumbnail, before)
    assert (two.looks.difference, two.looks.change) == (expected.difference, expected.change)
    assert two.whole.shape == (SHAPE.height, SHAPE.width, 3)
    alike = Comparison(Before(two.thumbnail, two.thumbnail), LeastNews(1.0, 1.0))
    (three,) = await compared(video, Codec.H264, 2, third, alike)
    assert three.pixels is None
    assert three.looks is not None
    assert three.looks.difference < 1.0
    video.close()


async def test_the_pictures_in_a_piece_of_a_container_are_not_compared(pool: WorkerPool) -> None:
    video = pool.decoders(Spent()).open_video(Codec.FMP4, SHAPE)
    never = Comparison(Before(), LeastNews(2.0, 2.0))
    pictures = await compared(
        video, Codec.FMP4, 0, turned_video("fmp4", 0, is_mirrored=False, num=10), never
    )
    assert len(pictures) > 1
    assert all(one.pixels is not None and one.looks is None for one in pictures)
    video.close()


async def test_a_source_whose_process_is_killed_goes_on_at_its_next_key_frame(
    pool: WorkerPool,
) -> None:
    chunks = encode_chunks("libx264", 30)
    feed = Feed(pool.decoders(Spent()).open_video(Codec.H264, SHAPE), Codec.H264)
    for index in range(12):
        await feed.send(index / 10, chunks[index])
    os.kill(process_of(feed.video), signal.SIGKILL)
    for index in range(12, 30):
        await feed.send(index / 10, chunks[index])
    await feed.finish()
    assert feed.reasons[0] is DropReason.UNDECODABLE
    assert set(feed.reasons[1:]) == {DropReason.NO_KEYFRAME}
    assert next(at_s for at_s in feed.times_s if at_s >= 2.0) == 2.0


@pytest.mark.parametrize("is_apart", [False, True])
async def test_parameter_sets_that_came_once_outlive_the_process(
    pool: WorkerPool, is_apart: bool
) -> None:
    chunks = encode_chunks("libx264", 30)
    sets, bare = sets_of(chunks[0]), [without_sets(chunk) for chunk in chunks]
    feed = Feed(pool.decoders(Spent()).open_video(Codec.H264, SHAPE), Codec.H264)
    if is_apart:
        await feed.send(0.0, sets)
    else:
        bare[0] = sets + bare[0]
    for index in range(30):
        if index in (5, 15):
            os.kill(process_of(feed.video), signal.SIGKILL)
        await feed.send(index / 10, bare[index])
    await feed.finish()
    assert {0.0, 1.0, 2.0} <= set(feed.times_s)


@pytest.mark.parametrize("codec", [Codec.WEBM, Codec.FMP4])
async def test_a_container_whose_process_is_killed_goes_on_at_its_next_part(
    pool: WorkerPool, codec: Codec
) -> None:
    pieces = in_pieces(record(codec, 80), 2000)
    whole = Feed(pool.decoders(Spent()).open_video(codec, SHAPE), codec)
    feed = Feed(pool.decoders(Spent()).open_video(codec, SHAPE), codec)
    for index, piece in enumerate(pieces):
        await whole.send(5.0, piece)
        if index == len(pieces) // 2:
            os.kill(process_of(feed.video), signal.SIGKILL)
        await feed.send(5.0, piece)
    await whole.finish()
    await feed.finish()
    assert DropReason.UNDECODABLE in feed.reasons
    assert len(feed.pictures) > len(whole.pictures) * 0.6
    assert feed.times_s[-1] == whole.times_s[-1]


async def test_a_container_whose_process_is_killed_after_its_time_was_moved_keeps_its_place(
    pool: WorkerPool,
) -> None:
    data = record(Codec.FMP4, 80)
    scale, (header, *parts) = time_scale(data), parts_of(data)
    parts[2:] = [moved(part, 7200.0, scale=scale) for part in parts[2:]]
    feed = Feed(pool.decoders(Spent()).open_video(Codec.FMP4, GAPLESS), Codec.FMP4)
    await feed.send(5.0, header + parts[0])
    for index, part in enumerate(parts[1:], 1):
        if index == 4:
            os.kill(process_of(feed.video), signal.SIGKILL)
            await feed.send(5.0, part)  # is lost
        else:
            await feed.send(5.0, part)
    await feed.finish()
    assert [(jump.kind, round(jump.by_s)) for jump in feed.jumps] == [("moved", 7200)]
    assert feed.times_s == sorted(feed.times_s)
    assert feed.times_s[-1] == pytest.approx(5.0 + 7.9, abs=0.25)


async def test_a_source_that_costs_too_much_is_dropped_and_begins_anew() -> None:
    pool = WorkerPool(DecodingSection(workers=1, chunk_budget_s=0.05), Metrics())
    try:
        heavy = encode_chunks("libx264", 2, size=(3840, 2160))[0]
        feed = Feed(pool.decoders(Spent()).open_video(Codec.H264, SHAPE), Codec.H264)
        await feed.send(0.0, heavy * 40)
        assert feed.reasons == [DropReason.TOO_COSTLY]
        await feed.send(1.0, encode_chunks("libx264", 1)[0])
        await feed.finish()
        assert feed.times_s == [1.0]
    finally:
        pool.close()


async def test_a_container_of_thousands_of_tracks_is_refused_within_its_budget(
    pool: WorkerPool,
) -> None:
    piece = record(Codec.FMP4, 10)
    start = piece.index(b"moov") - 4
    num_bytes = int.from_bytes(piece[start : start + 4], "big")
    moov = piece[start : start + num_bytes]
    track = moov.index(b"trak") - 4
    track_bytes = int.from_bytes(moov[track : track + 4], "big")
    tracks = moov[track : track + track_bytes] * 5000
    wide = moov[4:track] + tracks + moov[track + track_bytes :]
    payload = piece[:start] + (len(wide) + 4).to_bytes(4, "big") + wide + piece[start + num_bytes :]
    spent = Spent()
    feed = Feed(pool.decoders(spent).open_video(Codec.FMP4, SHAPE), Codec.FMP4)
    await feed.send(0.0, payload)
    feed.video.close()
    assert feed.reasons
    assert spent.total_s <= pool.settings.piece_budget_s

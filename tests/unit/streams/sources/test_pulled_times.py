"""When the pictures of pulled sources are seen: real files and a real HTTP camera."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import ManualClock, SystemClock
from onlooker.core.media import Codec, Pixels
from onlooker.streams.events import FrameAck, SourceChanged, TimeJumped
from onlooker.streams.perception.stream_time import TimeJump
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import Stream, StreamOptions
from tests.fakes.pictures import encode, make_pixels, record
from tests.fakes.streams import running_hub, waiting_events
from tests.fakes.timed import timed_video
from tests.fakes.turned import (
    CORNERS,
    KINDS,
    LYING,
    corners,
    turned_jpeg,
    turned_jpegs_in_avi,
    turned_video,
)
from tests.fakes.waiting import limited, until


class Told:
    """What was told of a source until it ended."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.jumps: list[TimeJump] = []
        self.why = ""


async def pulled(path: Path, **source: Any) -> Told:
    """Pull a file on the virtual clock, and keep every picture."""
    told = Told()
    async with running_hub(
        clock=SystemClock(),
        sources={"file_dirs": [str(path.parent)]},
        perception={"clip_interval_s": 0.02, "gate_threshold": 0},
    ) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual"))
        events = stream.subscribe(max_events=10_000)
        await hub.pull(stream, SourceSpec(str(path), **source))
        async with limited("the end of the file"):
            async for _, event in events:
                if isinstance(event, FrameAck):
                    told.times.append(round(event.capture_s, 3))
                elif isinstance(event, TimeJumped):
                    told.jumps.append(event.jump)
                elif isinstance(event, SourceChanged) and "ended" in str(event.state):
                    told.why = event.detail
                    return told
    raise AssertionError("the source never ended")


def tenths(first: int, last: int) -> list[float]:
    return [index / 10 for index in range(first, last)]


STEADY = tenths(0, 30)
VARIABLE = [0.0, 0.1, 0.5, 0.55, 2.0, 2.1, 7.5]
HELD = [*tenths(0, 10), *tenths(700, 710)]

FILES: dict[str, tuple[str, dict[str, Any], list[float]]] = {
    "steady.mp4": ("mp4", {}, STEADY),
    "b_frames.mp4": ("mp4", {"num_b_frames": 2}, STEADY),
    "variable.mov": ("mov", {}, VARIABLE),
    "variable.mkv": ("matroska", {}, VARIABLE),
    "variable.webm": ("webm", {"codec": "libvpx"}, VARIABLE),
    "held.mkv": ("matroska", {}, HELD),
    "held.mp4": ("mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}, HELD),
    "held.ts": ("mpegts", {}, HELD),
    "motion.avi": ("avi", {"codec": "mjpeg"}, STEADY),
    "steady.flv": ("flv", {}, STEADY),
    "steady.ivf": ("ivf", {"codec": "libvpx"}, STEADY),
    "wraps.ts": ("mpegts", {"options": {"output_ts_offset": str(2**33 / 90_000 - 3)}}, STEADY),
}


@pytest.mark.parametrize("name", FILES)
async def test_a_recordings_pictures_are_seen_at_its_own_times(name: str, tmp_path: Path) -> None:
    form, options, times = FILES[name]
    path = tmp_path / name
    path.write_bytes(timed_video(form, times, **options))
    told = await pulled(path)
    assert told.times == pytest.approx(times)
    assert [jump.kind for jump in told.jumps] == ["gap"] * name.startswith("held")


async def test_a_recording_that_begins_late_begins_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "later.mkv"
    path.write_bytes(timed_video("matroska", tenths(50, 60)))
    assert (await pulled(path)).times == pytest.approx(tenths(0, 10))


async def test_what_a_browser_records_has_no_length_and_is_seen_at_its_own_times(
    tmp_path: Path,
) -> None:
    path = tmp_path / "recorded.webm"
    path.write_bytes(record(Codec.WEBM, 30))
    assert (await pulled(path)).times == pytest.approx(STEADY)


async def test_recordings_in_one_file_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "twice.ts"
    path.write_bytes(timed_video("mpegts", STEADY) * 2)
    told = await pulled(path)
    assert told.times == sorted(set(told.times))
    assert 5.0 < told.times[-1] < 7.0


RAW = {
    "cam.h264": ("h264", "libx264"),
    "cam.h265": ("hevc", "libx265"),
}


@pytest.mark.parametrize("name", RAW)
async def test_raw_video_is_played_at_the_rate_that_it_names(name: str, tmp_path: Path) -> None:
    form, codec = RAW[name]
    path = tmp_path / name
    path.write_bytes(timed_video(form, STEADY, codec=codec))
    assert (await pulled(path)).times == pytest.approx(STEADY)


@pytest.mark.parametrize("name", [*RAW, "cam.mjpeg"])
async def test_raw_video_is_played_at_the_rate_that_is_given(name: str, tmp_path: Path) -> None:
    form, codec = RAW.get(name, ("mjpeg", "mjpeg"))
    path = tmp_path / name
    path.write_bytes(timed_video(form, STEADY, codec=codec))
    told = await pulled(path, nominal_fps=2.0)
    assert told.times == pytest.approx([index / 2 for index in range(30)])


async def test_raw_pictures_that_name_no_rate_are_played_at_25_a_second(tmp_path: Path) -> None:
    path = tmp_path / "cam.mjpeg"
    path.write_bytes(timed_video("mjpeg", STEADY, codec="mjpeg"))
    assert (await pulled(path)).times == pytest.approx([index / 25 for index in range(30)])


async def test_a_rate_that_is_given_does_not_change_a_recording_that_has_times(
    tmp_path: Path,
) -> None:
    path = tmp_path / "steady.mp4"
    path.write_bytes(timed_video("mp4", STEADY))
    assert (await pulled(path, nominal_fps=2.0)).times == pytest.approx(STEADY)


async def first_seen(path: Path) -> Pixels:
    """The pixels of a file's first picture, as the stream gets them."""
    seen: list[Any] = []
    async with running_hub(clock=SystemClock(), sources={"file_dirs": [str(path.parent)]}) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="virtual"))
        push = stream.push_wait

        async def noted(frame: Any) -> FrameAck:
            seen.append(frame)
            return await push(frame)

        stream.push_wait = noted  # type: ignore[method-assign]  # looks at what is pushed
        await hub.pull(stream, SourceSpec(str(path)))
        await until(lambda: stream.status().source is None)
    pixels: Pixels = seen[0].pixels
    return pixels


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recording_is_seen_upright(kind: str, tmp_path: Path) -> None:
    for turn, is_mirrored in LYING:
        path = tmp_path / f"phone.{kind}"
        path.write_bytes(turned_video(kind, turn, is_mirrored=is_mirrored, num=2))
        assert corners(await first_seen(path)) == list(CORNERS), (turn, is_mirrored)


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_motion_jpeg_whose_pictures_say_how_they_lie_is_seen_upright(
    orientation: int, tmp_path: Path
) -> None:
    (tmp_path / "a.mjpeg").write_bytes(turned_jpeg(orientation) * 2)
    (tmp_path / "a.avi").write_bytes(turned_jpegs_in_avi(orientation, num=2))
    for name in ("a.mjpeg", "a.avi"):
        assert corners(await first_seen(tmp_path / name)) == list(CORNERS), name


async def test_a_phones_recording_is_seen_upright() -> None:
    pixels = await first_seen(Path(__file__).parents[3] / "data" / "phone.mp4")
    assert pixels[4, 16].argmax() == 0  # red above
    assert pixels[-4, 16].argmax() == 2  # blue below


# ---- live


@contextmanager
def motion_jpeg_camera() -> Iterator[tuple[str, Callable[[], None]]]:
    """An HTTP camera without times: its address, and what has it send a picture."""
    listener = socket.create_server(("127.0.0.1", 0))
    picture = encode(make_pixels("red", width=64, height=64))
    part = b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n"
    due = threading.Semaphore(4)  # FFmpeg looks at some before it begins
    is_over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"
            )
            with suppress(ConnectionError):  # who watched has gone, and left some of it unread
                while not is_over.is_set():
                    due.acquire()
                    connection.sendall(part)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", due.release
    finally:
        is_over.set()
        due.release()
        thread.join(5)
        listener.close()


async def until_received(stream: Stream, num: int) -> None:
    await until(lambda: stream.status().received >= num)


async def watched(
    send: Callable[[], None], url: str, clock: ManualClock, *, num: int, step_s: float
) -> list[float]:
    """Stream times of `num` pictures of a live source, one every `step_s` seconds of the clock."""
    sources = {"allow_hosts": ["127.0.0.0/8"], "min_bytes_per_s": 0.0}
    async with running_hub(clock=clock, sources=sources, perception={"gate_threshold": 0}) as hub:
        stream = await hub.open_stream(options=StreamOptions(clock="live"))
        events = stream.subscribe(max_events=1000)
        await hub.pull(stream, SourceSpec(url))
        await until_received(stream, 1)
        for index in range(1, num):
            clock.advance(step_s)
            send()
            await until_received(stream, index + 1)
        return [round(e.capture_s, 3) for e in waiting_events(events) if isinstance(e, FrameAck)]


@pytest.mark.parametrize("step_s", [0.5, 2.0, 9.0])
async def test_a_camera_without_times_runs_at_the_pace_of_the_clock(step_s: float) -> None:
    with motion_jpeg_camera() as (url, send):
        times = await watched(send, url, ManualClock(), num=20, step_s=step_s)
    steps = [after - before for before, after in pairwise(times)]
    assert steps == pytest.approx([step_s] * len(steps), abs=1e-3)

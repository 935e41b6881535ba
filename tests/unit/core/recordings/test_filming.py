"""Pictures of recordings, decoded in parts by real decoder processes."""

import io
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onlooker.clients.python.importing.recordings import SurveyedFiles, find_files, survey
from onlooker.core.errors import InvalidRequest, NotFound, UnsupportedMedia
from onlooker.core.recordings import filming as films
from onlooker.core.recordings.crew import Crew, DecoderLimits, DecoderProcess
from onlooker.core.recordings.filming import Ended, Filming, PictureWish, Shot
from onlooker.core.recordings.recording import Recording
from onlooker.core.recordings.records import RecordingPart, ask_facts
from tests.fakes.dated_recordings import shade, write_recording

LOOK = PictureWish(interval_s=0.5, width=32, height=24)
BEGAN = "20261129T134500"


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    async with Crew(1, patience_s=60.0) as crew:
        yield crew


async def surveyed(crew: Crew, *paths: Path, **options: Any) -> SurveyedFiles:
    return await survey(find_files(paths), crew, num_at_a_time=1, zone=None, **options)


async def filmed(
    crew: Crew, found: Sequence[Recording], *, after_s: float = -1.0
) -> tuple[list[tuple[float, Shot]], list[Ended]]:
    """The pictures, with their times after the first recording began, and the ends."""
    zero_s = found[0].start_wall_s
    shots: list[tuple[float, Shot]] = []
    ends = []
    async for one in Filming(crew, found, LOOK, after_wall_s=zero_s + after_s).run():
        if isinstance(one, Ended):
            ends.append(one)
        else:
            shots.append((round(one.wall_s - zero_s, 3), one))
    return shots, ends


def times_of(shots: Sequence[tuple[float, Shot]]) -> list[float]:
    return [at_s for at_s, _ in shots]


def second_of(shot: Shot) -> int:
    """Which second of `shade` a picture shows."""
    pixels = np.asarray(Image.open(io.BytesIO(shot.jpeg)).convert("RGB"), np.float64)
    mean = pixels.mean(axis=(0, 1))
    return min(range(60), key=lambda second: float(np.abs(mean - shade(second)).sum()))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
async def test_a_recording_that_is_cut_gives_the_pictures_of_one_that_is_not(
    tmp_path: Path, crew: Crew, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.{ending}", 20)
    found = (await surveyed(crew, path)).recordings
    whole, _ = await filmed(crew, found)
    monkeypatch.setattr(films, "PART_S", 3.0)
    cut, ends = await filmed(crew, found)
    assert times_of(cut) == times_of(whole) == [i / 2 for i in range(40)]
    assert [second_of(shot) for _, shot in cut] == [i // 2 for i in range(40)]
    assert [end.problem for end in ends] == [""]


@pytest.mark.parametrize("ending", ["mp4", "ts"])
async def test_decoding_begins_early_enough_in_the_first_seconds(
    tmp_path: Path, crew: Crew, ending: str
) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.{ending}", 8)
    found = (await surveyed(crew, path)).recordings
    for after_s in (0.5, 5.5):
        shots, _ = await filmed(crew, found, after_s=after_s)
        assert times_of(shots)[0] <= after_s


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
async def test_decoding_begins_near_the_time_up_to_which_all_is_known(
    tmp_path: Path, crew: Crew, ending: str
) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.{ending}", 30)
    found = (await surveyed(crew, path)).recordings
    shots, _ = await filmed(crew, found, after_s=23.2)
    times_s = times_of(shots)
    assert times_s[0] <= 23.2
    assert times_s[0] > 12.0
    assert times_s[-1] == 29.5


async def test_a_recording_with_one_key_frame_is_decoded_once(
    tmp_path: Path, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "PART_S", 3.0)
    path = write_recording(tmp_path / f"{BEGAN}.mp4", 12, gop=1000)
    shots, _ = await filmed(crew, (await surveyed(crew, path)).recordings)
    assert times_of(shots) == [i / 2 for i in range(24)]


async def test_a_picture_that_is_held_stands_for_what_was_there(tmp_path: Path, crew: Crew) -> None:
    times_s = [0.0, 0.5, 1.0, 6.2, 6.7]
    path = write_recording(tmp_path / f"{BEGAN}.mp4", 0, times_s=times_s)
    shots, _ = await filmed(crew, (await surveyed(crew, path)).recordings)
    assert times_of(shots) == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.2, 6.7]
    assert [second_of(shot) for _, shot in shots] == [0, 0, 1, 1, 1, 1, 1, 6, 6]


async def test_a_bare_stream_is_counted_at_its_rate(tmp_path: Path, crew: Crew) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.h264", 4, fps=25, b_frames=0)
    (one,) = (await surveyed(crew, path)).recordings
    assert (one.is_timed, one.duration_s) == (False, None)
    shots, ends = await filmed(crew, [one])
    assert times_of(shots) == pytest.approx([i / 2 for i in range(8)], abs=0.05)
    assert ends[0].end_wall_s - one.start_wall_s == pytest.approx(4.0, abs=0.1)


async def test_a_seam_that_does_not_fit_is_mended_by_decoding_the_whole(
    tmp_path: Path, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "PART_S", 3.0)
    path = write_recording(tmp_path / f"{BEGAN}.mp4", 12)
    found = (await surveyed(crew, path)).recordings
    expected, _ = await filmed(crew, found)
    monkeypatch.setattr(films, "_SEAM_S", -1.0)  # none ever fits
    shots, ends = await filmed(crew, found)
    first = dict(reversed(shots))
    assert sorted(first) == times_of(expected)
    assert [end.problem for end in ends] == [""]


async def test_files_are_put_in_the_order_in_which_they_began(tmp_path: Path, crew: Crew) -> None:
    write_recording(tmp_path / "b.mp4", 1, creation_time="2026-11-29T13:45:10Z")
    write_recording(tmp_path / "2026-11-29T13-45-20Z.mkv", 1)
    write_recording(tmp_path / "a.mp4", 1, creation_time="2026-11-29T13:45:30Z")
    found = await surveyed(crew, tmp_path)
    names = [Path(one.name).name for one in found.recordings]
    assert names == ["b.mp4", "2026-11-29T13-45-20Z.mkv", "a.mp4"]


async def test_a_file_without_a_time_is_named(tmp_path: Path, crew: Crew) -> None:
    write_recording(tmp_path / "door.mp4", 1)
    write_recording(tmp_path / f"{BEGAN}.mp4", 1)
    with pytest.raises(InvalidRequest, match=r"nothing says when these began: '.*door\.mp4'"):
        await surveyed(crew, tmp_path)
    assert len((await surveyed(crew, tmp_path, prefer="modified")).recordings) == 2
    (one,) = (await surveyed(crew, tmp_path / "door.mp4", start_wall_s=7.0)).recordings
    assert one.start_wall_s == 7.0


async def test_one_start_is_not_that_of_two_files(tmp_path: Path, crew: Crew) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_recording(tmp_path / name, 1)
    with pytest.raises(InvalidRequest, match="there are 2"):
        await surveyed(crew, tmp_path, start_wall_s=7.0)


async def test_what_cannot_be_read_is_told_and_the_others_are_found(
    tmp_path: Path, crew: Crew
) -> None:
    (tmp_path / "20261129T140000.mp4").write_bytes(b"no video at all")
    (tmp_path / "20261129T150000.mp4").write_bytes(b"")
    write_recording(tmp_path / f"{BEGAN}.mp4", 1)
    found = await surveyed(crew, tmp_path)
    assert len(found.recordings) == 1
    assert [Path(name).name for name, _ in found.unreadable] == [
        "20261129T140000.mp4",
        "20261129T150000.mp4",
    ]


async def test_a_copy_has_the_same_fingerprint(tmp_path: Path, crew: Crew) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.mp4", 1)
    shutil.copy(path, tmp_path / "20261130T134500.mp4")
    write_recording(tmp_path / "20261201T134500.mp4", 2)
    prints = [one.fingerprint for one in (await surveyed(crew, tmp_path)).recordings]
    assert prints[0] == prints[1] != prints[2]


async def test_a_recording_that_is_cut_short_is_given_out_as_far_as_it_goes(
    tmp_path: Path, crew: Crew
) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.ts", 20)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    later = write_recording(tmp_path / "20261129T140000.mp4", 2)
    shots, ends = await filmed(crew, (await surveyed(crew, path, later)).recordings)
    assert 5.0 < max(at_s for at_s in times_of(shots) if at_s < 800) < 15.0
    assert times_of(shots)[-4:] == [900.0, 900.5, 901.0, 901.5]
    assert len(ends) == 2


async def test_a_decoder_that_dies_fails_its_recording_and_not_the_next(
    tmp_path: Path, crew: Crew
) -> None:
    first = write_recording(tmp_path / f"{BEGAN}.mp4", 2)
    second = write_recording(tmp_path / "20261129T140000.mp4", 2)
    found = (await surveyed(crew, first, second)).recordings
    first.write_bytes(b"gone bad meanwhile")
    shots, ends = await filmed(crew, found)
    assert [bool(end.problem) for end in ends] == [True, False]
    assert times_of(shots) == [900.0, 900.5, 901.0, 901.5]


async def test_a_decoder_that_does_nothing_is_ended_and_started_anew(tmp_path: Path) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.mp4", 1)
    process = DecoderProcess(patience_s=0.0)
    await process.ask(ask_facts(str(path)))
    with pytest.raises(UnsupportedMedia, match="did nothing for 0 s"):
        await process.record()
    patient = DecoderProcess(patience_s=60.0)
    await patient.ask(ask_facts(str(path)))
    await patient.record()
    await patient.kill()


async def test_a_folder_without_recordings_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(NotFound, match=r"\.mp4"):
        find_files([tmp_path])
    with pytest.raises(NotFound, match="no file or folder"):
        find_files([tmp_path / "missing"])


async def test_a_decoder_that_takes_more_than_its_budget_is_ended(tmp_path: Path) -> None:
    path = write_recording(tmp_path / f"{BEGAN}.mp4", 120, gop=5000, b_frames=0)
    part = RecordingPart(path=str(path), interval_s=1000.0, width=32, height=24)
    async with Crew(1, 60.0, DecoderLimits(picture_budget_s=0.01, memory_mib=4096)) as crew:
        with pytest.raises(UnsupportedMedia, match="more processor time"):
            _ = [one async for one in crew.stills([part])]


async def test_a_decoder_sees_no_secret_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLOOKER_SERVER__API_KEYS", "a-secret")
    process = DecoderProcess(60.0)
    await process.ask(ask_facts(str(write_recording(tmp_path / f"{BEGAN}.mp4", 1))))
    await process.record()
    assert process.pid is not None
    environment = (Path("/proc") / str(process.pid) / "environ").read_bytes()
    await process.kill()
    assert b"PATH=" in environment
    assert b"a-secret" not in environment


async def test_a_file_that_names_others_is_no_recording(tmp_path: Path, crew: Crew) -> None:
    secret = write_recording(tmp_path / f"{BEGAN}.mp4", 1)
    listing = tmp_path / "list.mp4"
    listing.write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    with pytest.raises(UnsupportedMedia):
        await crew.facts(str(listing))

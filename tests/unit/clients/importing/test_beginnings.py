"""When a recording began."""

from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from onlooker.clients.python.importing.beginnings import RecordingStart, beginning, parse_time

ZONE = ZoneInfo("Europe/Berlin")
SHOT_S = datetime(2026, 11, 29, 13, 45, 0, tzinfo=ZONE).timestamp()
UTC_S = datetime(2026, 11, 29, 13, 45, 0, tzinfo=UTC).timestamp()


def found(name: str, **tags: str) -> RecordingStart | None:
    return began(name, tags)


def began(name: str, tags: dict[str, str], **options: Any) -> RecordingStart | None:
    given = {"duration_s": 60.0, "modified_s": 0.0, "zone": ZONE, **options}
    return beginning(PurePath(name), tags, **given)


@pytest.mark.parametrize(
    "name",
    [
        "2026-11-29_13-45-00.mp4",
        "2026-11-29 13.45.00.mkv",
        "20261129T134500.mp4",
        "20261129_134500.mp4",
        "VID_20261129_134500.mp4",
        "VID-20261129-134500-front.mp4",
        "RLC-810A_00_20261129134500.mp4",
        "door-2026-11-29T13:45:00.mp4",
        "door_2026-11-29T13-45-00+0100.mp4",
        "WhatsApp Video 2026-11-29 at 13.45.00.mp4",
        "Screen Recording 2026-11-29 at 1.45.00 PM.mov",
        "2026_11_29_13_45_00_cam1.avi",
        "ch01_20261129134500_20261129140000.mp4",
        "2026-11-29/001/dav/13/13.45.00-13.50.00[M][0@0][0].mp4",
        "20261129/134500.mp4",
        "2026/11/29/13-45-00.mp4",
        "cam1/2026-11-29/13h45m00s.mp4",
        f"{SHOT_S:.0f}.mp4",
        f"cam_{SHOT_S:.0f}.ts",
        f"{SHOT_S * 1000:.0f}-door.mp4",
    ],
)
def test_names_of_cameras_recorders_and_phones_say_when_they_began(name: str) -> None:
    assert (one := found(name)) is not None
    assert one.wall_s == pytest.approx(SHOT_S)


@pytest.mark.parametrize(
    ("name", "wall_s"),
    [
        ("2026-11-29T13:45:00Z.mp4", UTC_S),
        ("recordings/2026-11-29/13/door/45.00.mp4", UTC_S),
        ("PXL_20261129_134500250.mp4", SHOT_S + 0.25),
        ("20261129T134500.5.mp4", SHOT_S + 0.5),
    ],
)
def test_zones_and_fractions_in_names_are_read(name: str, wall_s: float) -> None:
    assert (one := found(name)) is not None
    assert one.wall_s == pytest.approx(wall_s)


@pytest.mark.parametrize(
    "name",
    [
        "door.mp4",
        "VID-20261129-WA0001.mp4",
        "2026-11-29.mp4",
        "20261329_134500.mp4",
        "20261129_256100.mp4",
        "IMG_0042.mov",
        "1234567.mp4",
        "19700101_000010.mp4",
        "video-1920x1080-30fps.mp4",
    ],
)
def test_names_without_a_time_say_nothing(name: str) -> None:
    assert found(name) is None


def test_a_tag_says_when_it_began_in_utc() -> None:
    one = found("door.mp4", creation_time="2026-11-29T13:45:00.000000Z")
    assert one == RecordingStart(UTC_S, "its tag creation_time")


def test_a_phone_s_own_tag_comes_first() -> None:
    tags = {
        "creation_time": "2026-11-29T12:46:00.000000Z",
        "com.apple.quicktime.creationdate": "2026-11-29T13:45:00+0100",
    }
    assert (one := began("IMG_0042.mov", tags)) is not None
    assert one.wall_s == SHOT_S


@pytest.mark.parametrize("value", ["1970-01-01T00:00:00Z", "1904-01-01T00:00:00Z", "2026", "yes"])
def test_a_clock_that_was_never_set_says_nothing(value: str) -> None:
    assert found("door.mp4", creation_time=value) is None
    assert found("20261129T134500.mp4", creation_time=value) is not None


def test_of_a_phone_that_tags_the_end_the_name_is_right() -> None:
    one = found("VID_20261129_134500.mp4", creation_time="2026-11-29T12:46:00Z")
    assert one is not None
    assert one.wall_s == SHOT_S
    assert "end" in one.source


def test_a_name_that_disagrees_with_the_tag_is_told() -> None:
    one = found("VID_20261129_094500.mp4", creation_time="2026-11-29T12:45:00Z")
    assert one is not None
    assert one.wall_s == SHOT_S
    assert one.doubt == "its name says 2026-11-29 09:45:00"


def test_who_asks_for_one_of_them_gets_that() -> None:
    tags = {"creation_time": "2026-11-29T12:45:00Z"}
    name = "20261129T094500.mp4"
    by_name = began(name, tags, prefer="name")
    assert by_name is not None
    assert by_name.wall_s == SHOT_S - 4 * 3600
    assert began("door.mp4", tags, prefer="name") is None
    assert began(name, {}, prefer="tag") is None


def test_when_it_was_written_counts_only_if_asked_for_and_is_its_end() -> None:
    assert began("door.mp4", {}, modified_s=SHOT_S + 60) is None
    one = began("door.mp4", {}, modified_s=SHOT_S + 60, prefer="modified")
    assert one is not None
    assert one.wall_s == SHOT_S


@pytest.mark.parametrize(
    "text",
    ["2026-11-29T13:45:00", "2026-11-29 13:45:00", "2026-11-29T12:45:00Z", "20261129_134500"],
)
def test_people_may_write_the_time_in_several_ways(text: str) -> None:
    assert parse_time(text, ZONE) == SHOT_S


def test_what_is_no_time_is_none() -> None:
    assert parse_time("yesterday", ZONE) is None

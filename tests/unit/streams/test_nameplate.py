"""What a stream is called: what is taken, how it is kept, and what the model is told."""

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import InvalidRequest, TooLarge
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.streams.belongings import NAMEPLATE, REFERENCE, Belongings
from onlooker.streams.config import NameplatesSection
from onlooker.streams.nameplate import (
    Nameplate,
    NameplateChanges,
    NameplateHolder,
    ReferencePicture,
    checked_labels,
)

SETTINGS = NameplatesSection()


def holder(**documents: bytes) -> NameplateHolder:
    kept = Belongings(
        StreamId("acme/door"),
        None,
        clock=ManualClock(),
        metrics=Metrics(),
        documents=documents,
    )
    return NameplateHolder(kept, SETTINGS)


def test_labels_are_kept_in_small_letters_in_order_and_once() -> None:
    assert checked_labels(["Outside", "door", "OUTSIDE"], SETTINGS) == ("door", "outside")


@pytest.mark.parametrize("label", ["", "two words", "a,b", "x" * 41, "line\nend", "a/b"])
def test_what_is_not_one_word_is_no_label(label: str) -> None:
    with pytest.raises(InvalidRequest, match="one word"):
        checked_labels([label], SETTINGS)


def test_more_labels_than_the_setting_allows_are_refused_with_its_name() -> None:
    with pytest.raises(TooLarge, match=r"streams\.nameplates\.max_labels"):
        checked_labels([f"label-{n}" for n in range(17)], SETTINGS)


def test_what_is_not_named_stays_and_what_is_empty_goes() -> None:
    plate = Nameplate(name="Front door", description="The street.", labels=("door",))
    changed = NameplateChanges(description="", labels=("Outside",)).on(plate, SETTINGS)
    assert changed == Nameplate(name="Front door", labels=("outside",))


def test_a_name_is_one_line() -> None:
    changed = NameplateChanges(name="  Front\n\x00 door ").on(Nameplate(), SETTINGS)
    assert changed.name == "Front door"


def test_a_description_that_is_too_long_is_refused_with_the_name_of_the_setting() -> None:
    with pytest.raises(TooLarge, match="max_description_chars"):
        NameplateChanges(description="x" * 501).on(Nameplate(), SETTINGS)


def test_labels_are_asked_for_in_any_letters_and_all_must_be_there() -> None:
    plate = Nameplate(labels=("door", "outside"))
    assert plate.has_labels(["Door", "outside"])
    assert not plate.has_labels(["door", "garden"])
    assert plate.has_labels([])


def test_the_model_is_told_name_labels_and_description_and_nothing_where_there_is_none() -> None:
    plate = Nameplate(name="Front door", description="The street.", labels=("door", "outside"))
    assert plate.said == (
        'The camera is called "Front door". Its labels: door, outside. About it: The street.'
    )
    assert Nameplate().said == ""


@pytest.mark.parametrize("kept", [b"{", b"[]", b'{"name": 7, "labels": "door"}'])
def test_a_nameplate_that_cannot_be_read_is_an_empty_one(kept: bytes) -> None:
    assert holder(**{NAMEPLATE: kept}).plate == Nameplate()


@pytest.mark.parametrize("kept", [b"{", b"[]", b'{"data": "!", "media_type": "image/jpeg"}'])
def test_a_reference_picture_that_cannot_be_read_is_none(kept: bytes) -> None:
    found = holder(**{REFERENCE: kept}).reference
    assert found is None or found.data == b""


async def test_a_reference_picture_over_the_limit_is_refused_and_the_old_one_stays() -> None:
    held = holder()
    await held.set_reference(ReferencePicture(b"small", "image/jpeg"))
    with pytest.raises(TooLarge, match="max_reference_bytes"):
        await held.set_reference(ReferencePicture(bytes((64 << 10) + 1), "image/jpeg"))
    assert held.reference == ReferencePicture(b"small", "image/jpeg")


async def test_whoever_follows_hears_of_a_change_and_not_of_none() -> None:
    held, told = holder(), list[str]()
    held.on_change.append(lambda: told.append(held.plate.name))
    await held.change(NameplateChanges(name="Door"))
    await held.change(NameplateChanges(name="Door"))
    assert told == ["Door"]

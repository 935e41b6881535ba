import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import OwnedElsewhere
from onlooker.core.ids import StreamId
from onlooker.server.fleet import owners
from onlooker.server.fleet.owners import KNOWN_S, KnownOwners

DOOR = StreamId("door")


def owned(name: str = "door") -> OwnedElsewhere:
    return OwnedElsewhere("there", stream=("default", name), server="a", url="http://a")


def is_known(known: KnownOwners, stream_id: StreamId = DOOR) -> bool:
    try:
        known.check(stream_id)
    except OwnedElsewhere:
        return True
    return False


def test_who_asks_is_told_where_the_owner_is() -> None:
    known = KnownOwners(ManualClock())
    known.note(DOOR, owned())
    with pytest.raises(OwnedElsewhere, match="there") as found:
        known.check(DOOR)
    assert (found.value.server, found.value.url) == ("a", "http://a")


def test_an_owner_is_known_for_a_while() -> None:
    clock = ManualClock()
    known = KnownOwners(clock)
    known.note(DOOR, owned())
    assert is_known(known)
    clock.advance(KNOWN_S)
    assert not is_known(known)


def test_an_owner_that_was_wrong_is_forgotten() -> None:
    known = KnownOwners(ManualClock())
    known.note(DOOR, owned())
    known.forget(DOOR)
    assert not is_known(known)


def test_no_more_owners_are_known_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "MAX_KNOWN", 2)
    known = KnownOwners(ManualClock())
    for name in "abc":
        known.note(StreamId(name), owned(name))
    assert [is_known(known, StreamId(name)) for name in "abc"] == [False, True, True]

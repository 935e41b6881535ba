"""Sockets that nobody vouches for: who gives way to whom."""

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.server.lobby import ADMISSION, GRACE_S, Lobby, admitted


class FakeSocket:
    """Notes whether it was closed."""

    def __init__(self) -> None:
        self.is_open = True

    def abort(self) -> None:
        self.is_open = False


class House:
    """A lobby and its clock."""

    def __init__(self, *, max_guests: int = 100, max_per_address: int = 100) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.lobby = Lobby(
            max_guests=max_guests,
            max_per_address=max_per_address,
            clock=self.clock,
            metrics=self.metrics,
        )

    def enter(self, host: str, *, after_s: float = 0.0) -> FakeSocket:
        self.clock.advance(after_s)
        socket = FakeSocket()
        self.lobby.enter(socket, host)
        return socket

    @property
    def num_crowded(self) -> float:
        labels = {"reason": "crowded"}
        found = self.metrics.registry.get_sample_value("onlooker_sockets_closed_total", labels)
        return found or 0.0


def test_of_too_many_from_one_address_the_oldest_gives_way() -> None:
    house = House(max_per_address=2)
    stranger = house.enter("192.0.2.9")
    sockets = [house.enter("192.0.2.1", after_s=GRACE_S + 0.1) for _ in range(4)]
    assert [socket.is_open for socket in sockets] == [False, False, True, True]
    assert stranger.is_open
    assert house.num_crowded == 2


def test_many_that_come_at_once_are_not_yet_a_crowd() -> None:
    house = House(max_per_address=2)
    sockets = [house.enter("192.0.2.1") for _ in range(20)]
    assert all(socket.is_open for socket in sockets)


def test_when_the_house_is_full_the_largest_crowd_loses_its_oldest() -> None:
    house = House(max_guests=4)
    alone = house.enter("192.0.2.9")
    crowd = [house.enter("192.0.2.1") for _ in range(3)]
    newcomer = house.enter("192.0.2.7")
    assert [socket.is_open for socket in crowd] == [False, True, True]
    assert alone.is_open
    assert newcomer.is_open


def test_who_was_let_in_does_not_give_way_until_done() -> None:
    house = House(max_guests=2)
    caller = house.enter("192.0.2.1")
    with house.lobby.admitted(caller):
        others = [house.enter("192.0.2.1") for _ in range(5)]
        assert caller.is_open
        assert not house.lobby.is_guest(caller)
        assert [socket.is_open for socket in others] == [False, False, False, True, True]
    assert house.lobby.is_guest(caller)
    assert caller.is_open
    assert not others[3].is_open


def test_who_left_is_not_counted_and_not_seated_again() -> None:
    house = House(max_guests=1)
    caller = house.enter("192.0.2.1")
    with house.lobby.admitted(caller):
        house.lobby.leave(caller)
    assert not house.lobby.is_guest(caller)
    assert house.enter("192.0.2.1").is_open
    assert house.num_crowded == 0


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_addresses_that_one_peer_can_have_as_it_likes_are_one(
    one: str, other: str, is_same: bool
) -> None:
    house = House(max_per_address=1)
    first = house.enter(one)
    house.enter(other, after_s=GRACE_S + 0.1)
    assert first.is_open is not is_same


def test_an_app_admits_a_socket_through_its_scope() -> None:
    house = House()
    caller = house.enter("192.0.2.1")
    offered = house.lobby.offer(caller)
    assert set(offered) == {ADMISSION}
    with admitted({"extensions": offered}):
        assert not house.lobby.is_guest(caller)
    with admitted({"type": "http"}):  # another server's scope
        assert house.lobby.is_guest(caller)

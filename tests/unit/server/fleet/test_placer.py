"""Which server opens a new stream."""

import random
from collections import Counter

from onlooker.core.protocol.http import ServerObject
from onlooker.scheduler.room import Room
from onlooker.server.fleet.placer import Placer

HERE = Room(0.5, 10)


def make_server(name: str, ratio: float, **changed: object) -> ServerObject:
    fields = {
        "name": name,
        "url": f"http://{name}:8000",
        "version": "1",
        "model": "fake",
        "status": "ready",
        "streams": 0,
        "max_streams": 100,
        "connections": 0,
        "load_ratio": 0.0,
        "room_ratio": ratio,
        "room_streams": 50,
        **changed,
    }
    return ServerObject.model_validate(fields)


def make_placer(*servers: ServerObject, margin: float = 0.2) -> Placer:
    placer = Placer(name="here", margin=margin, rng=random.Random(1))
    placer.hear(servers)
    return placer


def chosen(placer: Placer, own: Room = HERE, *, must: bool = False) -> str | None:
    found = placer.elsewhere(own, model="fake", must=must)
    return None if found is None else found.name


def test_a_stream_goes_to_the_server_with_most_room() -> None:
    placer = make_placer(make_server("a", 0.8), make_server("b", 0.95))
    assert chosen(placer) == "b"


def test_it_stays_where_it_came_in_unless_another_has_much_more_room() -> None:
    assert chosen(make_placer(make_server("a", 0.65))) is None
    assert chosen(make_placer(make_server("a", 0.75))) == "a"


def test_a_full_server_sends_it_to_whoever_has_room() -> None:
    placer = make_placer(make_server("a", 0.1))
    assert chosen(placer, Room(0.0, 0)) == "a"
    assert chosen(placer, HERE, must=True) == "a"


def test_where_nobody_has_room_it_is_sent_to_nobody() -> None:
    placer = make_placer(make_server("a", -0.5, room_streams=0))
    assert chosen(placer, Room(-0.5, 0), must=True) is None


def test_servers_that_drain_or_start_or_have_another_model_are_sent_nothing() -> None:
    placer = make_placer(
        make_server("a", 1.0, status="draining"),
        make_server("b", 1.0, status="starting"),
        make_server("c", 1.0, model="another"),
        make_server("here", 1.0),
    )
    assert chosen(placer, must=True) is None


def test_lots_are_drawn_among_servers_of_nearly_the_same_room() -> None:
    servers = [make_server("a", 0.99), make_server("b", 0.98), make_server("c", 0.8)]
    placer = make_placer(*servers)
    drawn: Counter[str | None] = Counter()
    for _ in range(40):
        placer.hear(servers)
        drawn[chosen(placer)] += 1
    assert drawn.keys() == {"a", "b"}
    assert min(drawn.values()) > 5


def test_what_was_sent_since_a_server_was_last_heard_of_counts() -> None:
    placer = make_placer(make_server("a", 1.0, max_streams=10, room_streams=10), margin=0.2)
    own = Room(0.5, 10)
    assert [chosen(placer, own) for _ in range(4)] == ["a", "a", "a", None]


def test_with_a_margin_of_one_only_full_servers_send_streams_away() -> None:
    placer = make_placer(make_server("a", 1.0), margin=1.0)
    assert chosen(placer, Room(0.01, 1)) is None
    assert chosen(placer, Room(0.0, 0)) == "a"

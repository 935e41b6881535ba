"""`Placer`: which server of a fleet is to open a new stream."""

import random
from collections import Counter
from collections.abc import Sequence

from onlooker.core.protocol.http import ServerObject
from onlooker.scheduler.room import Room

NEARLY_EQUAL = 0.05
"""Servers whose room differs by less are drawn lots for: what is known of them is some seconds old,
and all doors would send to the same one."""


class Placer:
    """Chooses by what the servers last said of themselves. All on the event loop.

    Args:
        name: this server's name.
        margin: how much more room, as a share, another server must have for a stream to be sent
            there that could stay here.
    """

    def __init__(self, *, name: str, margin: float, rng: random.Random) -> None:
        self._name, self._margin, self._rng = name, margin, rng
        self._others: tuple[ServerObject, ...] = ()
        self._sent: Counter[str] = Counter()
        """Streams that were sent to each server since it was last heard of."""

    def hear(self, servers: Sequence[ServerObject]) -> None:
        """Take what all servers have just said of themselves."""
        self._others = tuple(one for one in servers if one.name != self._name and one.url)
        self._sent.clear()

    def elsewhere(self, own: Room, *, model: str, must: bool = False) -> ServerObject | None:
        """The server that a new stream is to be sent to; None: it is to stay here. Counts the
        stream as sent.

        Args:
            own: this server's room.
            model: what is served here; servers of another model are left out.
            must: it cannot stay here. Then None says that no other server has room.
        """
        rooms = [
            (self._room(one), one)
            for one in self._others
            if one.status == "ready" and one.model == model
        ]
        rooms = [(room, one) for room, one in rooms if room.streams > 0]
        if not rooms:
            return None
        most = max(room.ratio for room, _ in rooms)
        if not must and own.streams > 0 and most <= own.ratio + self._margin:
            return None
        chosen = self._rng.choice([one for room, one in rooms if room.ratio > most - NEARLY_EQUAL])
        self._sent[chosen.name] += 1
        return chosen

    def _room(self, server: ServerObject) -> Room:
        """What a server said, less what was sent there since."""
        sent = self._sent[server.name]
        used = (1 - server.room_ratio) / max(1, server.streams)
        each = max(1 / max(1, server.max_streams), used)
        return Room(server.room_ratio - sent * each, server.room_streams - sent)

"""`RetainedBoard`: what a broker should hold, and what of that it is still to be told.

A topic has one value, and a newer one takes the place of one that was not told yet. So what waits
for a broker that is slow or away is bounded by the number of topics.
"""

from collections.abc import Iterable, Mapping
from itertools import islice


class RetainedBoard:
    """Of one server. An empty value means that the broker holds nothing there."""

    def __init__(self) -> None:
        self._wanted: dict[str, bytes] = {}
        self._due: dict[str, None] = {}
        """Topics whose value is to be told, in the order in which they changed."""
        self._passing: set[str] = set()
        """Topics that are not remembered once their value is told."""

    def put(self, topic: str, value: bytes) -> bool:
        """Have the broker hold a value; returns whether that is news."""
        self._passing.discard(topic)
        if self._wanted.get(topic) == value:
            return False
        self._wanted[topic] = value
        self._due[topic] = None
        return True

    def put_once(self, topic: str, value: bytes) -> None:
        """Have the broker hold a value, and remember it no longer than until it does."""
        self.put(topic, value)
        self._passing.add(topic)

    def put_all(self, values: Mapping[str, bytes]) -> bool:
        """`put` each; returns whether any of it is news."""
        news = [topic for topic, value in values.items() if self.put(topic, value)]
        return bool(news)

    def clear(self, topics: Iterable[str]) -> None:
        """Have the broker hold nothing there."""
        for topic in topics:
            self.put(topic, b"")

    def leave(self, topics: Iterable[str]) -> None:
        """Let the broker hold there whatever it does: somebody else says from now on."""
        for topic in topics:
            self._wanted.pop(topic, None)
            self._due.pop(topic, None)
            self._passing.discard(topic)

    def due(self, limit: int) -> list[tuple[str, bytes]]:
        """What is to be told next, at most `limit` values."""
        return [(topic, self._wanted[topic]) for topic in islice(self._due, limit)]

    def note_held(self, topic: str, value: bytes) -> None:
        """The broker has taken a value, which may be old by now."""
        if self._wanted.get(topic) != value:
            return
        self._due.pop(topic, None)
        if not value or topic in self._passing:
            self.leave([topic])

    def tell_again(self) -> None:
        """Have everything told once more: the broker may have lost it, or may be another one."""
        self._due = dict.fromkeys(self._wanted)

    @property
    def num_due(self) -> int:
        """Values that are still to be told."""
        return len(self._due)

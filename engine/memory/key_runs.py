"""`KeyRuns`: many segments' keys as a few runs, so that an hour of clips is named in a line."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import overload

MAX_DIGITS = 18
"""The most digits of a key's number, so that it fits 64 bits."""


@dataclass(frozen=True, slots=True)
class KeyParts:
    """A key taken apart: the number that it ends in, and what stands before it."""

    stem: str
    number: int
    num_digits: int

    @classmethod
    def of(cls, key: str) -> "KeyParts":
        """Take `key` apart; a key without a number at its end has 0 digits."""
        tail = key[-MAX_DIGITS:]
        num_digits = len(tail) - len(tail.rstrip("0123456789"))
        start = len(key) - num_digits
        return cls(key[:start], int(key[start:] or 0), num_digits)

    def after(self, count: int) -> str:
        """The key whose number is higher by `count`."""
        return f"{self.stem}{self.number + count:0{self.num_digits}d}" if count else self.text

    @property
    def text(self) -> str:
        return f"{self.stem}{self.number:0{self.num_digits}d}" if self.num_digits else self.stem


class KeyRuns(Sequence[str]):
    """A sequence of keys, kept as runs. A *run* is a key and how many keys, from it on, follow each
    other by number.

    What it takes to make, send and read a sequence goes by its runs, not by its keys.
    """

    def __init__(self, runs: Iterable[tuple[str, int]] = ()) -> None:
        self.runs = [(first, count) for first, count in runs]
        self._ends = list(accumulate(count for _, count in self.runs))

    @classmethod
    def of(cls, keys: Iterable[str]) -> "KeyRuns":
        """The sequence of any `keys`, in their order."""
        if isinstance(keys, KeyRuns):
            return keys
        runs: list[tuple[str, int]] = []
        following: str | None = None
        parts = KeyParts("", 0, 0)
        for key in keys:
            if key == following:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                parts = KeyParts.of(key)
                runs.append((key, 1))
            text = parts.after(runs[-1][1])
            following = text if len(text) == len(key) else None
        return cls(runs)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        run = bisect_right(self._ends, place)
        first, count = self.runs[run]
        return KeyParts.of(first).after(place - (self._ends[run] - count))

    def __iter__(self) -> Iterator[str]:
        for first, count in self.runs:
            parts = KeyParts.of(first)
            for number in range(count):
                yield parts.after(number)

    def __add__(self, other: "KeyRuns") -> "KeyRuns":
        return KeyRuns([*self.runs, *other.runs])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyRuns) and self.runs == other.runs

    __hash__ = None  # type: ignore[assignment]

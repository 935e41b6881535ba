"""`LoadRuns`: the stored segments of a prompt as a few runs, so that a window is told in a line.

The clips of a window follow each other by number, and mostly have equally many tokens. What it
takes to send their places, and to read them where hardly any is loaded, goes by their runs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

from onlooker.engine.memory.key_runs import KeyParts


@dataclass(frozen=True, slots=True)
class LoadSpan:
    """A stored segment placed in this prompt."""

    key: str
    start: int
    """First prompt token that the segment covers."""
    num_tokens: int
    position: int
    """Rotary position of the segment's first token in this prompt."""


class LoadRun(NamedTuple):
    """Segments of which each begins where the one before it ends, and whose keys follow each other
    by number."""

    key: str
    """The key of the first segment; `start` and `position` are its places, too."""
    num_segments: int
    start: int
    num_tokens: int
    """Tokens of each segment."""
    position: int
    extent: int
    """Rotary positions from each segment to the next; 0 where there is one segment only."""

    @property
    def num_covered_tokens(self) -> int:
        """Tokens of all its segments."""
        return self.num_segments * self.num_tokens

    @property
    def end(self) -> int:
        """The prompt token behind the last segment."""
        return self.start + self.num_covered_tokens

    def spans(self, first: int = 0) -> Iterator[LoadSpan]:
        """The segments from the place `first` on."""
        parts = KeyParts.of(self.key)
        for place in range(first, self.num_segments):
            start = self.start + place * self.num_tokens
            position = self.position + place * self.extent
            yield LoadSpan(parts.after(place), start, self.num_tokens, position)


class LoadRuns(Sequence[LoadSpan]):
    """Stored segments placed in a prompt, in their order, kept as runs."""

    def __init__(self, runs: Iterable[Iterable[Any]] = ()) -> None:
        """`runs`: the values of `LoadRun`, as plain data."""
        self.runs = [LoadRun._make(run) for run in runs]

    @classmethod
    def of(cls, spans: Iterable[LoadSpan]) -> "LoadRuns":
        """Any `spans`, in their order."""
        found = cls()
        for span in spans:
            found.append(span)
        return found

    def append(self, span: LoadSpan) -> None:
        """Add a segment behind the others."""
        if self.runs and (grown := _grown(self.runs[-1], span)) is not None:
            self.runs[-1] = grown
        else:
            self.runs.append(LoadRun(span.key, 1, span.start, span.num_tokens, span.position, 0))

    def copy(self) -> "LoadRuns":
        """The same segments; one may grow without the other."""
        return LoadRuns(self.runs)

    def ending_after(self, token: int) -> list[LoadSpan]:
        """The segments of which some tokens stand at the prompt token `token` or behind it."""
        found: list[LoadSpan] = []
        for run in self.runs:
            first = (token - run.start) // run.num_tokens if run.num_tokens else run.num_segments
            found += run.spans(max(0, first))
        return found

    def __len__(self) -> int:
        return sum(run.num_segments for run in self.runs)

    @overload
    def __getitem__(self, place: int) -> LoadSpan: ...
    @overload
    def __getitem__(self, place: slice) -> list[LoadSpan]: ...
    def __getitem__(self, place: int | slice) -> LoadSpan | list[LoadSpan]:
        return list(self)[place]

    def __iter__(self) -> Iterator[LoadSpan]:
        for run in self.runs:
            yield from run.spans()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoadRuns) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _grown(run: LoadRun, span: LoadSpan) -> LoadRun | None:
    """`run` with `span` behind it; None where that is no run."""
    if span.start != run.end or span.num_tokens != run.num_tokens:
        return None
    extent = span.position - run.position if run.num_segments == 1 else run.extent
    if span.position != run.position + run.num_segments * extent:
        return None
    parts = KeyParts.of(run.key)
    if (
        not parts.num_digits
        or parts.after(run.num_segments) != span.key
        or len(run.key) != len(span.key)
    ):
        return None
    return run._replace(num_segments=run.num_segments + 1, extent=extent)

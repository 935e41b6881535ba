"""`Timeline`: the clips of a stream in order; and `Passage`: some of them, by where they stand.

A day of clips is remembered, and a question is asked among all of them. What that takes goes by
*runs*, stretches of clips that follow each other without a gap, not by clips; clips of one run may
differ in size. Where clips are compacted another run begins, since their keys are of another kind.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.key_runs import KeyRuns

SizeClass = tuple[int, int]
"""Number of tokens and extent of a clip, see `ClipTokens.size_class`."""


@dataclass(frozen=True, slots=True)
class RememberedClip:
    """A clip whose segment is stored."""

    tokens: ClipTokens
    clip_index: int
    start_s: float
    end_s: float
    until_s: float
    """Stream time at which its cover ends: up to there it stands for what was there, see
    `onlooker.core.media.Cover`. At least `end_s`."""


class Timeline(Sequence[RememberedClip]):
    """Clips in the order of their indices, which is that of time. A timeline only ever grows at its
    end, and covers grow, so a `Passage` of it keeps its clips; for other changes `with_clip`,
    `with_tokens` and `without` make a new one."""

    def __init__(self, clips: Iterable[RememberedClip] = ()) -> None:
        self._clips: list[RememberedClip] = []
        self._run_starts: list[int] = []
        """Where in the list each run begins."""
        self._size_starts: list[int] = []
        """Where in the list a clip stands whose size is not that of the clip before it."""
        self._whole_from = 0
        """A place in the list before which all clips are compacted, and stay so: it is asked with
        each clip which are whole, and nearly all of a long stream are not."""
        self.num_tokens = 0
        """Tokens of all clips; the room that their KV takes is in proportion."""
        for clip in clips:
            self.append(clip)

    def append(self, clip: RememberedClip) -> None:
        """Add the newest clip."""
        last = self._clips[-1] if self._clips else None
        if _begins_run(last, clip):
            self._run_starts.append(len(self._clips))
        if _begins_size(last, clip):
            self._size_starts.append(len(self._clips))
        if last is not None and last.until_s > clip.start_s:
            until_s = max(last.end_s, clip.start_s)
            self._clips[-1] = replace(last, until_s=until_s)
        self._clips.append(clip)
        self.num_tokens += len(clip.tokens.token_ids)

    def cover(self, clip_index: int, until_s: float) -> None:
        """Note that a clip, where it is here, stands for what was there up to `until_s` at
        least."""
        at = bisect_left(self._clips, clip_index, key=_index_of)
        if at == len(self._clips) or self._clips[at].clip_index != clip_index:
            return
        if at + 1 < len(self._clips):
            until_s = min(until_s, self._clips[at + 1].start_s)
        if until_s > self._clips[at].until_s:
            self._clips[at] = replace(self._clips[at], until_s=until_s)

    def with_clip(self, clip: RememberedClip) -> "Timeline":
        """A new timeline that also has a clip that came late; a clip of the same index stays before
        it."""
        at = bisect_right(self._clips, clip.clip_index, key=_index_of)
        return Timeline([*self._clips[:at], clip, *self._clips[at:]])

    def with_tokens(self, tokens: Mapping[int, ClipTokens]) -> "Timeline":
        """A new timeline in which the clips of some indices, which are here, have other tokens.
        What it takes goes by how far apart these stand; the rest is copied as it is."""
        found = Timeline()
        found._clips = self._clips.copy()
        found.num_tokens, found._whole_from = self.num_tokens, self._whole_from
        places = [bisect_left(self._clips, index, key=_index_of) for index in tokens]
        for at, index in zip(places, tokens, strict=True):
            clip = self._clips[at]
            assert clip.clip_index == index, "the clips are here"
            found._clips[at] = replace(clip, tokens=tokens[index])
            found.num_tokens += len(tokens[index].token_ids) - len(clip.tokens.token_ids)
        changed = range(min(places, default=0), min(max(places, default=-2) + 2, len(self)))
        found._run_starts = found._restarted(self._run_starts, changed, _begins_run)
        found._size_starts = found._restarted(self._size_starts, changed, _begins_size)
        return found

    def whole_between(self, after: int, before: int, max_clips: int) -> list[RememberedClip]:
        """The oldest clips that are not compacted of those whose indices are above `after` and
        below `before`; `max_clips` at most."""
        first = bisect_right(self._clips, after, key=_index_of)
        last = bisect_left(self._clips, before, key=_index_of)
        found: list[RememberedClip] = []
        for start, end in self.runs(max(first, min(self._whole_from, last)), last):
            if not self._clips[start].tokens.is_compacted:
                found += self._clips[start : min(end, start + max_clips - len(found))]
            elif not found and first <= self._whole_from:
                self._whole_from = end
            if len(found) == max_clips:
                break
        return found

    def _restarted(
        self,
        starts: list[int],
        changed: range,
        begins: Callable[[RememberedClip | None, RememberedClip], bool],
    ) -> list[int]:
        """`starts` where the clips at the places `changed` are others than they were."""
        here = [
            at for at in changed if begins(self._clips[at - 1] if at else None, self._clips[at])
        ]
        first, last = bisect_left(starts, changed.start), bisect_left(starts, changed.stop)
        return [*starts[:first], *here, *starts[last:]]

    def without(self, is_gone: Callable[[RememberedClip], bool]) -> "Timeline":
        """A new timeline without the clips that are gone."""
        return Timeline(clip for clip in self._clips if not is_gone(clip))

    def num_before(self, end_s: float) -> int:
        """How many clips end at `end_s` or before."""
        return bisect_right(self._clips, end_s, key=lambda clip: clip.end_s)

    def stretch(self, start_s: float, end_s: float, num_known: int) -> tuple[int, int]:
        """Places of those of the first `num_known` clips that show some of this time or stand for
        it: from the first place up to, and without, the second."""
        first = bisect_left(self._clips, start_s, 0, num_known, key=lambda clip: clip.until_s)
        if first < num_known and self._clips[first].until_s == start_s > self._clips[first].end_s:
            first += 1  # its cover ends just there
        last = bisect_left(self._clips, end_s, first, num_known, key=lambda clip: clip.start_s)
        return first, last

    def at_index(self, clip_index: int) -> RememberedClip | None:
        """The clip with this index; None where it is not here."""
        at = bisect_left(self._clips, clip_index, key=_index_of)
        if at == len(self._clips) or self._clips[at].clip_index != clip_index:
            return None
        return self._clips[at]

    def find(self, keys: Iterable[str]) -> list[RememberedClip]:
        """The clips whose segments have these keys, in order; unknown keys are passed over."""
        found = {}
        for key in keys:
            number = key.rpartition("/")[2]
            at = bisect_left(self._clips, int(number), key=_index_of) if number.isdecimal() else 0
            if at < len(self._clips) and self._clips[at].tokens.key == key:
                found[at] = self._clips[at]
        return [found[at] for at in sorted(found)]

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The clips from place `first` up to `last` by their runs, each as the places from which
        and up to which it goes."""
        return _stretches(self._run_starts, first, last)

    def equal_stretches(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The clips from place `first` up to `last` by stretches of one size class, each as the
        places from which and up to which it goes."""
        return _stretches(self._size_starts, first, last)

    @overload
    def __getitem__(self, place: int) -> RememberedClip: ...
    @overload
    def __getitem__(self, place: slice) -> list[RememberedClip]: ...
    def __getitem__(self, place: int | slice) -> RememberedClip | list[RememberedClip]:
        return self._clips[place]

    def __iter__(self) -> Iterator[RememberedClip]:
        return iter(self._clips)

    def __len__(self) -> int:
        return len(self._clips)


class Passage(Sequence[RememberedClip]):
    """Some clips of a timeline, in order, as they were when it was made.

    Args:
        stretches: pairs of places in the timeline, from the first up to, and without, the second;
            in any order. Those that overlap or touch are joined.
    """

    def __init__(
        self, timeline: Timeline | None = None, stretches: Iterable[tuple[int, int]] = ()
    ) -> None:
        self._timeline = Timeline() if timeline is None else timeline
        self._stretches = _joined(stretches)
        self._len = sum(last - first for first, last in self._stretches)

    @property
    def keys(self) -> KeyRuns:
        """Keys of the clips' segments, in order."""
        runs = [(self._timeline[first].tokens.key, last - first) for first, last in self._runs()]
        return KeyRuns(runs)

    @property
    def size_classes(self) -> dict[SizeClass, "Passage"]:
        """The clips by size class; those of one class can take each other's place in a slot."""
        found: dict[SizeClass, list[tuple[int, int]]] = {}
        for first, last in self._equal_stretches():
            found.setdefault(self._timeline[first].tokens.size_class, []).append((first, last))
        return {size: Passage(self._timeline, runs) for size, runs in found.items()}

    @property
    def is_one_size(self) -> bool:
        """Whether all clips are of one size class."""
        sizes = (self._timeline[first].tokens.size_class for first, _ in self._equal_stretches())
        known = next(sizes, None)
        return all(size == known for size in sizes)

    def find(self, keys: Iterable[str]) -> list[RememberedClip]:
        """The clips whose segments have these keys, which are keys of the passage; see
        `Timeline.find`."""
        return self._timeline.find(keys)

    def _runs(self) -> Iterator[tuple[int, int]]:
        for first, last in self._stretches:
            yield from self._timeline.runs(first, last)

    def _equal_stretches(self) -> Iterator[tuple[int, int]]:
        for first, last in self._stretches:
            yield from self._timeline.equal_stretches(first, last)

    @overload
    def __getitem__(self, place: int) -> RememberedClip: ...
    @overload
    def __getitem__(self, place: slice) -> list[RememberedClip]: ...
    def __getitem__(self, place: int | slice) -> RememberedClip | list[RememberedClip]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        for first, last in self._stretches:
            if place < last - first:
                return self._timeline[first + place]
            place -= last - first
        raise AssertionError("the stretches are as long as the passage")

    def __iter__(self) -> Iterator[RememberedClip]:
        for first, last in self._stretches:
            yield from self._timeline[first:last]

    def __len__(self) -> int:
        return self._len


def _stretches(starts: Sequence[int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The places from `first` up to `last`, cut where one of `starts`, which ascend, lies in
    between."""
    at = bisect_right(starts, first)
    while first < last:
        end = min(starts[at], last) if at < len(starts) else last
        yield first, end
        first, at = end, at + 1


def _joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """`stretches`, which come in any order, as few that do not touch."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(stretches):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        elif first < last:
            found.append((first, last))
    return found


def _begins_run(last: RememberedClip | None, clip: RememberedClip) -> bool:
    """Whether the key of `clip` does not follow by number on that of the clip before it."""
    return (
        last is None
        or last.clip_index + 1 != clip.clip_index
        or last.tokens.is_compacted != clip.tokens.is_compacted
    )


def _begins_size(last: RememberedClip | None, clip: RememberedClip) -> bool:
    return last is None or last.tokens.size_class != clip.tokens.size_class


def _index_of(clip: RememberedClip) -> int:
    return clip.clip_index

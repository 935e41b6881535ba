"""`Filming`: all pictures of recordings that follow each other, decoded ahead, at their times."""

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from onlooker.core.errors import UnsupportedMedia
from onlooker.core.recordings.crew import Crew, PartBegin, Still
from onlooker.core.recordings.recording import Recording
from onlooker.core.recordings.records import PartEnd, RecordingPart

PART_S = 30.0
"""Length of the parts into which a recording is cut for decoding."""

REPEAT_S = 1.0
"""A picture that is held is given out again so often, since it goes on to be what was there."""

MOST_HELD_S = 3600.0
"""A longer time without a picture is a gap in the recording."""

LONGEST_S = 30 * 86_400.0
"""A recording that claims to be longer is not cut, as its claim is likely wrong."""

_SEAM_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureWish:
    """How pictures are picked."""

    interval_s: float
    width: int
    height: int
    """Pixels that a picture is to cover."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture, at its time on the wall."""

    recording: Recording
    wall_s: float
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A recording has been decoded to its end, or as far as it can be."""

    recording: Recording
    end_wall_s: float
    num_bad: int = 0
    problem: str = ""
    """Why it ended early; empty when it did not."""


class Filming:
    """Gives out pictures once, in order of their times in each recording.

    Args:
        after_wall_s: decoding begins near this time; what is given out may begin a little earlier.
    """

    def __init__(
        self, crew: Crew, recordings: Sequence[Recording], look: PictureWish, *, after_wall_s: float
    ) -> None:
        self._crew, self._look, self._after_wall_s = crew, look, after_wall_s
        self._left = deque(recordings)
        self._is_seamless = True

    async def run(self) -> AsyncGenerator[Shot | Ended]:
        """All pictures, and the end of each recording behind its pictures."""
        while self._left:
            told = _Told(self._left[0])
            try:
                async with aclosing(self._through(told)) as through:
                    async for one in through:
                        yield one
            except _SeamBroken:
                self._is_seamless = False
            except UnsupportedMedia as error:
                self._left.popleft()
                self._is_seamless = True
                yield Ended(told.recording, told.end_wall_s, told.num_bad, error.message)

    async def _through(self, told: "_Told") -> AsyncGenerator[Shot | Ended]:
        """As `run`, until something is wrong; `told` is what was given out of the recording that is
        under way, which is the first of those left."""
        under_way: deque[tuple[Recording, bool]] = deque()

        def parts() -> Iterator[RecordingPart]:
            for number, recording in enumerate(tuple(self._left)):
                cut = list(self._cut(recording, is_seamless=self._is_seamless or number > 0))
                for part in cut:
                    under_way.append((recording, part is cut[-1]))
                    yield part

        async with aclosing(self._crew.stills(parts())) as stills:
            async for one in stills:
                if isinstance(one, PartBegin):
                    told.check_seam(one.at_s)
                elif isinstance(one, Still):
                    for shot in told.with_holds(one, self._look):
                        yield shot
                else:
                    told.end_part(one)
                    recording, is_last = under_way.popleft()
                    if not is_last:
                        continue
                    for shot in told.held_to_end(self._look):
                        yield shot
                    yield Ended(recording, told.end_wall_s, told.num_bad)
                    self._left.popleft()
                    self._is_seamless = True
                    if self._left:
                        told.begin(self._left[0])

    def _cut(self, recording: Recording, *, is_seamless: bool) -> Iterator[RecordingPart]:
        look = self._look
        whole = RecordingPart(
            path=str(recording.path),
            interval_s=look.interval_s,
            width=look.width,
            height=look.height,
        )
        duration_s = recording.duration_s
        can_be_cut = duration_s is not None and duration_s <= LONGEST_S and recording.is_timed
        if duration_s is None or not can_be_cut or not is_seamless:
            yield whole
            return
        start_s = max(0.0, self._after_wall_s - recording.start_wall_s)
        num_parts = max(1, round((duration_s - start_s) / PART_S))
        for number in range(num_parts):
            yield replace(
                whole,
                start_s=start_s + number * PART_S,
                end_s=None if number == num_parts - 1 else start_s + (number + 1) * PART_S,
                is_first=number == 0,
            )


class _SeamBroken(Exception):
    """A part does not begin where the one before it has ended: the recording cannot be cut."""


class _Told:
    """What was given out of the recording that is under way."""

    def __init__(self, recording: Recording) -> None:
        self.begin(recording)

    def begin(self, recording: Recording) -> None:
        """Another recording begins."""
        self.recording = recording
        self.num_bad = 0
        self._newest: Still | None = None
        self._slot = -1
        self._end_s = recording.duration_s or 0.0
        self._until_s: float | None = None

    @property
    def end_wall_s(self) -> float:
        """Where the recording ends, as far as that is known."""
        return self.recording.start_wall_s + self._end_s

    def check_seam(self, from_s: float) -> None:
        """Note that a part begins. Raises `_SeamBroken`."""
        if self._until_s is not None and abs(from_s - self._until_s) > _SEAM_S:
            raise _SeamBroken

    def end_part(self, end: PartEnd) -> None:
        """Note that a part has ended."""
        if end.from_s is not None:
            self._until_s = end.until_s
        self.num_bad += end.num_bad
        self._end_s = max(self._end_s, end.end_s)

    def with_holds(self, still: Still, look: PictureWish) -> Iterator[Shot]:
        """A picture; before it the one before, as often as it was held."""
        slot = int(still.at_s / look.interval_s + 1e-6)
        if slot <= self._slot:  # that of the part before, at the seam
            return
        yield from self._held_until(still.at_s, look)
        self._newest, self._slot = still, slot
        yield self._shot(still.at_s, still)

    def held_to_end(self, look: PictureWish) -> Iterator[Shot]:
        """The last picture, as often as it was held."""
        yield from self._held_until(self._end_s, look)

    def _held_until(self, until_s: float, look: PictureWish) -> Iterator[Shot]:
        if self._newest is None or until_s - self._newest.at_s > MOST_HELD_S:
            return
        step_s = max(REPEAT_S, look.interval_s)
        at_s = self._newest.at_s + step_s
        while at_s < until_s - look.interval_s / 2:
            yield self._shot(at_s, self._newest)
            at_s += step_s

    def _shot(self, at_s: float, still: Still) -> Shot:
        return Shot(self.recording, self.recording.start_wall_s + at_s, still.jpeg)

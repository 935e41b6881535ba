"""What one stream remembers: its clips in order, and which of them an answer may see. No KV."""

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from onlooker.cache_store.key import SegmentKind, StreamKey
from onlooker.core.media import Cover
from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.mosaic import Mosaic
from onlooker.engine.memory.notes import Notes
from onlooker.engine.memory.plan import Reads
from onlooker.engine.memory.timeline import Passage, RememberedClip, Timeline
from onlooker.engine.memory.times import Span, TimeAsked
from onlooker.engine.memory.token_drop import Chooser
from onlooker.engine.memory.window import RecentWindow
from onlooker.engine.memory.window_opening import WindowOpening


@dataclass(frozen=True, slots=True)
class Recall:
    """Which clips a question's context shows, each part in time order."""

    placed: list[RememberedClip]
    """Older clips that are placed as they are: nothing is to be chosen among them any more."""
    recent: list[RememberedClip]
    candidates: Passage = field(default_factory=Passage)
    """Older clips among which a choice is to be made; empty where there is none to make."""
    num_slots: int = 0
    """The most candidates that may be chosen."""
    is_named: bool = False
    """Whether the question named the time of the older clips."""
    reads: Reads = field(default_factory=dict)
    """What choosing read of the stored segments."""
    alone: tuple[Span, ...] = ()
    """The spans of time that the question named, where nothing but these is shown."""

    @property
    def is_one_size(self) -> bool:
        """Whether the candidates can take each other's place in a slot."""
        return self.candidates.is_one_size

    def chosen(self, keys: Iterable[str], reads: Reads) -> "Recall":
        """What is recalled after a probe chose the candidates of `keys`."""
        placed = self.candidates.find(keys)
        return replace(self, placed=placed, candidates=Passage(), num_slots=0, reads=reads)

    def of_one_size(self) -> "Recall":
        """What is recalled with the candidates of the commonest size only, so that they fit the
        same slots. Where these are too few to choose among, some of all candidates are placed,
        spread over their time."""
        alike = max(self.candidates.size_classes.values(), key=len)
        if len(alike) <= self.num_slots:
            placed = spread(self.candidates, self.num_slots)
            return replace(self, placed=placed, candidates=Passage(), num_slots=0)
        return replace(self, placed=[], candidates=alike)


class StreamMemory:
    """The clips of one stream, oldest first."""

    def __init__(self, key: StreamKey, *, epoch: int = 0) -> None:
        """`epoch`: of the right by which the stream is written; 0 where streams have no owners."""
        self._key = key
        self.epoch = epoch
        self.is_unsure = False
        """Whether there may be more than is known: when the stream was restored a tier could not
        be asked, or held damaged records."""
        self._gone: set[int] = set()
        self.num_forgets = 0
        """How often clips were taken out on purpose: what was recalled before may be gone."""
        self.sinks: set[str] = set()
        """Keys of system prompts that are stored."""
        self.notes = Notes(key)
        self._clips = Timeline()
        self.window: RecentWindow[RememberedClip] = RecentWindow()
        self.opening = WindowOpening()
        """What the prompts of the window begin with."""
        self.mosaic: Mosaic | None = None
        """What was last shown at each place of the picture, where clips are computed without some
        of their places, by the method of `drop_name` at work in `chooser`."""
        self.drop_name = ""
        self.chooser: Chooser | None = None
        self._readers: set[object] = set()
        self.twins: dict[int, str] = {}
        """By clip index, the key of a second segment that is stored of the clip while it is being
        compacted: whoever deletes the clip deletes that, too."""

    @property
    def prefix(self) -> str:
        """Beginning of the keys of all segments of this life of the stream; other lives share
        none."""
        return self._key.prefix

    def clip_key(self, clip_index: int) -> str:
        """The key of a clip's segment."""
        return self._key.segment(SegmentKind.CLIP, clip_index).text

    def compacted_key(self, clip_index: int) -> str:
        """The key of a clip's segment once it is compacted."""
        return self._key.segment(SegmentKind.COMPACTED, clip_index).text

    def stored_key(self, clip_index: int) -> str:
        """The key under which a clip is stored now."""
        clip = self.at_index(clip_index)
        return self.clip_key(clip_index) if clip is None else clip.tokens.key

    def sink_key(self, head: str) -> str:
        """The key of the segment of a system prompt."""
        digest = hashlib.blake2b(head.encode(), digest_size=4).digest()
        return self._key.segment(SegmentKind.SINK, int.from_bytes(digest)).text

    @property
    def ends(self) -> tuple[RememberedClip, RememberedClip]:
        """The oldest and the newest clip; there must be one clip at least."""
        return self._clips[0], self._clips[-1]

    @property
    def num_tokens(self) -> int:
        """Tokens of all clips; the room that their KV takes is in proportion."""
        return self._clips.num_tokens

    def add(self, clip: RememberedClip) -> None:
        """Remember a clip; one that was missing may come late."""
        if self._clips and self._clips[-1].clip_index > clip.clip_index:
            self._clips = self._clips.with_clip(clip)
        else:
            self._clips.append(clip)
        self._gone.discard(clip.clip_index)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Have all segments that are remembered now stay where they are while the block lasts, also
        those of clips that are compacted meanwhile."""
        reader = object()
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)

    @property
    def readers(self) -> frozenset[object]:
        """Those who are `reading` now."""
        return frozenset(self._readers)

    def whole_between(self, after: int, before: int, max_clips: int) -> list[RememberedClip]:
        """The oldest clips that are not compacted of those whose indices are above `after` and
        below `before`; `max_clips` at most."""
        return self._clips.whole_between(after, before, max_clips)

    def compact(self, tokens: Mapping[int, ClipTokens]) -> None:
        """Have the clips of these indices, which are here, be remembered by other tokens."""
        self._clips = self._clips.with_tokens(tokens)

    def cover(self, covers: Iterable[Cover]) -> None:
        """Note how long clips stand for what was there, where they are remembered."""
        for cover in covers:
            self._clips.cover(cover.clip_index, cover.until_s)

    def note_gaps(self) -> frozenset[int]:
        """Note as missing the clips between those that were found again; returns their indices."""
        known = {clip.clip_index for clip in self._clips}
        self._gone = set(range(min(known), max(known))) - known if known else set()
        return frozenset(self._gone)

    @property
    def is_incomplete(self) -> bool:
        """Whether something is gone that should be here, as far as is known."""
        return self.is_unsure or bool(self._gone)

    def recent(self, num_clips: int, *, until_s: float = math.inf) -> list[RememberedClip]:
        """The newest `num_clips` of the clips that end at stream time `until_s` or before."""
        num_known = self._clips.num_before(until_s)
        return self._clips[max(0, num_known - num_clips) : num_known]

    def before(
        self, start_s: float, max_clips: int, stride_clips: int
    ) -> tuple[list[RememberedClip], str | None]:
        """The context of the clip that starts at `start_s`, and the salt of its request; see
        `RecentWindow`. A clip that was missing and comes late has a context of its own, and no salt
        that others share (None)."""
        if self._clips and self._clips[-1].end_s > start_s:
            return self.recent(max_clips, until_s=start_s), None
        known = self._clips[-max_clips - 1 :]
        clips = self.window.before_next(known, max_clips=max_clips, stride_clips=stride_clips)
        return list(clips), self.window.name

    def recall(
        self,
        about: TimeAsked,
        *,
        recent_clips: int,
        retrieved_clips: int,
        recent_s: float | None = None,
    ) -> Recall:
        """The clips that an answer may see: none that ends after the question was asked.

        A question that names a time and does not speak of now gets the clips of that time alone:
        newer ones would only be there to be mistaken for them. Where that time has more clips than
        fit, the content chooses.
        """
        num_known = self._clips.num_before(about.asked_s)
        since_s = -math.inf if recent_s is None else about.asked_s - recent_s
        recent = [
            clip
            for clip in self._clips[max(0, num_known - recent_clips) : num_known]
            if clip.until_s > since_s
        ]
        if about.spans and not about.speaks_of_now:
            spans = [self._clips.stretch(*span, num_known) for span in about.spans]
            if wanted := Passage(self._clips, spans):
                shown = _to_show(wanted, retrieved_clips + recent_clips, [], is_named=True)
                return replace(shown, alone=about.spans)
        if about.is_only_now or not retrieved_clips:
            return Recall([], recent)
        num_older = num_known - len(recent)
        older = [(0, num_older)]
        if about.spans:
            older = [self._clips.stretch(*span, num_older) for span in about.spans]
        passage = Passage(self._clips, older)
        return _to_show(passage, retrieved_clips, recent, is_named=bool(about.spans))

    def at_index(self, clip_index: int) -> RememberedClip | None:
        """The clip with this index; None where it is not remembered."""
        return self._clips.at_index(clip_index)

    def find(self, keys: Iterable[str]) -> list[RememberedClip]:
        """The clips whose segments have these keys, in order; unknown keys are passed over."""
        return self._clips.find(keys)

    def forget(self, keys: set[str]) -> None:
        """Take out the clips, sinks and notes whose segments are gone; where clips are, answers say
        from now on that memory is incomplete."""
        self._gone |= {clip.clip_index for clip in self._clips if clip.tokens.key in keys}
        self._clips = self._clips.without(lambda clip: clip.tokens.key in keys)
        self.sinks -= keys
        self.notes.forget(keys)

    def forget_oldest(self, num_clips: int) -> list[str]:
        """Take out the oldest clips; returns their keys."""
        oldest, self._clips = self._clips[:num_clips], Timeline(self._clips[num_clips:])
        first = self._clips[0].clip_index if self._clips else math.inf
        self._gone = {index for index in self._gone if index > first}
        return self.all_keys(oldest)

    def all_keys(self, clips: Iterable[RememberedClip]) -> list[str]:
        """The keys of all that is stored of clips which are let go; see `twins`."""
        found = []
        for clip in clips:
            found.append(clip.tokens.key)
            if (twin := self.twins.pop(clip.clip_index, None)) is not None:
                found.append(twin)
        return found

    def forget_span(
        self, start_s: float, end_s: float, max_clips: int | None = None
    ) -> tuple[list[RememberedClip], bool]:
        """Take out the clips that show anything of a span of stream time, `max_clips` of the oldest
        at most; returns them, and whether there are more. Nobody misses them afterwards."""
        found = [
            clip
            for clip in self._clips
            if clip.start_s <= end_s and (clip.end_s >= start_s or clip.until_s > start_s)
        ]
        gone = found[:max_clips]
        if gone:
            indices = {clip.clip_index for clip in gone}
            self._clips = self._clips.without(lambda clip: clip.clip_index in indices)
            self.window.forget(indices)
            self.opening = WindowOpening()
            self.mosaic = None  # it holds what pictures looked like
            self.num_forgets += 1
        if len(gone) == len(found):
            self._gone = {index for index in self._gone if not self._lay(index, start_s, end_s)}
        return gone, len(gone) < len(found)

    def _lay(self, clip_index: int, start_s: float, end_s: float) -> bool:
        """Whether a missing clip may have shown something of a span of time, going by those before
        and after it."""
        at = bisect_left(self._clips, clip_index, key=lambda clip: clip.clip_index)
        after_s = self._clips[at - 1].end_s if at else -math.inf
        before_s = self._clips[at].start_s if at < len(self._clips) else math.inf
        return after_s <= end_s and before_s >= start_s

    def keys(self) -> list[str]:
        """The keys of everything that should be stored."""
        return [*self.sinks, *self.notes.keys(), *(clip.tokens.key for clip in self._clips)]

    @property
    def num_segments(self) -> int:
        """The number of `keys`."""
        return len(self.sinks) + len(self.notes.keys()) + len(self._clips)

    def __len__(self) -> int:
        return len(self._clips)


def spread(clips: Sequence[RememberedClip], num_clips: int) -> list[RememberedClip]:
    """At most `num_clips` of `clips`, evenly over their time."""
    if len(clips) <= num_clips:
        return list(clips)
    step = len(clips) / num_clips
    return [clips[int(step * (index + 0.5))] for index in range(num_clips)]


def _to_show(
    older: Passage, num_clips: int, recent: list[RememberedClip], *, is_named: bool
) -> Recall:
    if len(older) <= num_clips:
        return Recall(list(older), recent, is_named=is_named)
    return Recall([], recent, older, num_clips, is_named)

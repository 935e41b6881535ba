"""Prompts made of segments: token ids, where clips stand, and the plan of what is loaded and saved.

    token   [ sink | retrieved or named clips | recent window | new clip or dialogue and question ]
             loaded ............................................ computed

Every prompt is counted from position 0. A clip advances the rotary position by its *extent*, which
is less than its tokens: the tokens of a picture share one place in time.

The model needs a clip's features only to encode it and to place its tokens. Clips that are loaded
are not encoded, and the positions of all tokens are known here: they travel with one clip, so that
what a request costs outside the model does not grow with its window.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onlooker.engine.memory.clip_tokens import ClipTokens
from onlooker.engine.memory.key_runs import KeyRuns
from onlooker.engine.memory.load_runs import LoadRuns, LoadSpan
from onlooker.engine.memory.plan import (
    BEFORE_UNTIL,
    Filling,
    MemorySlot,
    RequestPlan,
    RetrievalPlan,
    SaveSpan,
)


@dataclass(frozen=True, slots=True)
class PlacedClip:
    """A clip in a prompt."""

    start: int
    """The prompt token at which the clip begins."""
    tokens: ClipTokens
    features: object = None
    """The clip's features with pixels, in the engine's own form; None where the clip is loaded."""


@dataclass(frozen=True, slots=True)
class SegmentPrompt:
    """A whole prompt and its plan."""

    token_ids: list[int]
    salt: str
    """The salt under which vLLM may keep and find KV of this prompt's beginning."""
    plan: RequestPlan
    stored: PlacedClip | None
    """The first clip that is loaded or left to retrieval, where no clip is computed: it carries the
    positions of all tokens. None where one is, or where there is no clip."""
    computed: list[PlacedClip]
    """Clips that are encoded and computed now, in order. The first carries positions, if any
    does."""
    positions: NDArray[np.int32] | None
    """Rotary positions of all tokens, [3, tokens] (t, h, w), where a clip has to carry them: where
    one is stored, or one is computed without some of its places."""


class PromptBuilder:
    """Collects one prompt from left to right.

    Args:
        salt: the salt under which vLLM may keep and find KV of this prompt's beginning; None:
            nobody else may ever find that KV.
    """

    def __init__(self, salt: str | None = None) -> None:
        self._salt = salt or secrets.token_hex(8)
        self._ids: list[int] = []
        self._position = 0
        self._loads = LoadRuns()
        self._saves: list[SaveSpan] = []
        self._slots: list[MemorySlot] = []
        self._num_filled = 0
        self._reads: list[str] = []
        self._candidates = KeyRuns()
        self._num_wanted = 0
        self._traces = False
        self._recent = KeyRuns()
        self._question: tuple[int, int, int] | None = None
        self._placed: list[tuple[NDArray[np.int32], int]] = []
        self._stored: PlacedClip | None = None
        self._computed: list[PlacedClip] = []

    def copy(self, salt: str | None) -> "PromptBuilder":
        """A prompt of its own that begins as this one, of which nothing is computed or asked yet.
        `salt`: see the class."""
        if len(self._placed) > 1:
            self._placed = [(self._positions(), 0)]
        found = PromptBuilder(salt)
        found._ids = self._ids.copy()
        found._position = self._position
        found._loads = self._loads.copy()
        found._placed = self._placed.copy()
        found._stored = self._stored
        return found

    def load_text(self, key: str, token_ids: Sequence[int]) -> None:
        """Add a stored text segment (the sink, a note)."""
        self._loads.append(LoadSpan(key, len(self._ids), len(token_ids), self._position))
        self._text(token_ids)

    def save_text(
        self,
        key: str,
        token_ids: Sequence[int],
        meta: Mapping[str, str] | None = None,
        *,
        epoch: int = 0,
    ) -> None:
        """Add text that is computed now and kept; `meta` is what it takes to place it after a
        restart. `epoch`: see `SaveSpan`."""
        self._saves.append(
            SaveSpan(
                key,
                len(self._ids),
                len(token_ids),
                self._position,
                retrievable=False,
                meta=dict(meta or {}),
                epoch=epoch,
            )
        )
        self._text(token_ids)

    def load_clip(self, clip: ClipTokens) -> None:
        """Add a stored clip."""
        start = len(self._ids)
        self._loads.append(LoadSpan(clip.key, start, len(clip.token_ids), self._position))
        self._store(clip)

    def save_clip(
        self,
        clip: ClipTokens,
        features: object,
        span_s: tuple[float, float] = (0, 0),
        before_until_s: float = 0.0,
        filling: Filling | None = None,
        *,
        epoch: int = 0,
    ) -> ClipTokens:
        """Add the new clip, which is encoded and computed now, and kept; returns it as it is kept.

        Args:
            span_s: the stream time that it shows, in seconds.
            before_until_s: where the cover of the clip before it ends, in seconds.
            filling: where the places come from that `clip` is without; then it is kept whole.
            epoch: see `SaveSpan`.
        """
        kept = clip
        if filling is not None and clip.whole is not None:
            kept = replace(clip.whole, shown_ratio=clip.shown_ratio)
            self._fill(kept, filling)
        self._saves.append(
            SaveSpan(
                clip.key,
                len(self._ids),
                len(clip.token_ids),
                self._position,
                kept.offsets.tolist(),
                start_s=span_s[0],
                end_s=span_s[1],
                meta={**kept.meta(), BEFORE_UNTIL: repr(before_until_s)},
                rows=[] if filling is None else clip.rows.tolist(),
                epoch=epoch,
                filling=filling,
            )
        )
        self.picture(clip, features)
        return kept

    def retrieve(self, candidates: Iterable[str], shapes: Sequence[ClipTokens]) -> None:
        """Add slots that the question fills with the best of `candidates` (keys), which are all of
        one size class. `shapes`: clips of that class, as many as there are slots."""
        self._candidates, self._num_wanted = KeyRuns.of(candidates), len(shapes)
        assert len({clip.size_class for clip in shapes}) == 1
        for clip in shapes:
            self._slots.append(MemorySlot(len(self._ids), len(clip.token_ids), self._position))
            self._store(clip)

    def probe(
        self,
        candidates: Iterable[str],
        num_wanted: int,
        recent: Iterable[str],
        *,
        traces: bool = False,
        reads: Sequence[str] = (),
    ) -> None:
        """Ask which of `candidates` (keys) the question wants, at most `num_wanted`; none of them
        is shown. `reads`: keys of those that have to be looked into."""
        self._traces, self._reads = traces, list(reads)
        self._candidates, self._num_wanted = KeyRuns.of(candidates), num_wanted
        self._recent = KeyRuns.of(recent)

    def picture(self, clip: ClipTokens, features: object) -> None:
        """Add a clip that is computed now. It is kept only when `save_clip` adds it; by itself it
        is a picture that came with the question."""
        self._computed.append(PlacedClip(len(self._ids), clip, features))
        self._clip(clip)

    def question(self, token_ids: Sequence[int]) -> None:
        """Add what is asked, to the end of the prompt."""
        self._question = (len(self._ids), len(token_ids), self._position)
        self._text(token_ids)

    @property
    def num_computed_tokens(self) -> int:
        """Tokens that are neither loaded nor left to retrieval."""
        covered = sum(run.num_covered_tokens for run in self._loads.runs)
        covered += sum(slot.num_tokens for slot in self._slots) + self._num_filled
        return len(self._ids) - covered

    def build(self) -> SegmentPrompt:
        """The prompt and its plan."""
        retrieval = None
        if self._candidates:
            assert self._question is not None
            start, num_tokens, position = self._question
            retrieval = RetrievalPlan(
                slots=self._slots,
                candidates=self._candidates,
                num_wanted=self._num_wanted,
                recent=self._recent,
                traces=self._traces,
                question_start=start,
                question_tokens=num_tokens,
                question_position=position,
            )
        return SegmentPrompt(
            token_ids=self._ids,
            salt=self._salt,
            plan=RequestPlan(self._loads, self._saves, retrieval, self._reads),
            stored=None if self._computed else self._stored,
            computed=self._computed,
            positions=self._positions() if self._carries else None,
        )

    @property
    def _carries(self) -> bool:
        """Whether the places of the tokens are not those that the model would give them by
        itself."""
        return self._stored is not None or any(
            one.tokens.kept is not None for one in self._computed
        )

    def _positions(self) -> NDArray[np.int32]:
        """Rotary positions of all tokens, [3, tokens] (t, h, w)."""
        offsets = [offsets for offsets, _ in self._placed]
        lengths = [part.shape[1] for part in offsets]
        bases = np.array([position for _, position in self._placed], np.int32)
        positions: NDArray[np.int32] = np.concatenate(offsets, axis=1) + bases.repeat(lengths)
        return positions

    def _text(self, token_ids: Sequence[int]) -> None:
        count = len(token_ids)
        offsets = np.broadcast_to(np.arange(count, dtype=np.int32), (3, count))
        self._placed.append((offsets, self._position))
        self._ids += token_ids
        self._position += count

    def _fill(self, clip: ClipTokens, filling: Filling) -> None:
        """Place the rows of `clip` that are not computed before those that are: all that is loaded
        stands at the beginning of a prompt, and only what stands before a token is seen by it. The
        position goes on behind the whole clip."""
        self._placed.append((clip.offsets[:, filling.rows], self._position))
        self._ids += [clip.token_ids[row] for row in filling.rows]
        self._num_filled += len(filling.rows)

    def _store(self, clip: ClipTokens) -> None:
        """Add a clip that is not computed."""
        if self._stored is None:
            self._stored = PlacedClip(len(self._ids), clip)
        self._clip(clip)

    def _clip(self, clip: ClipTokens) -> None:
        self._placed.append((clip.offsets, self._position))
        self._ids += clip.token_ids
        self._position += clip.extent

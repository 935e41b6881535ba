"""`Recaller`: which remembered clips an answer sees. Asks the model first where that is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from onlooker.core.errors import ConfigError, EngineFailed
from onlooker.engine.interface import Question
from onlooker.engine.memory.config import MemorySection
from onlooker.engine.memory.plan import RequestReport
from onlooker.engine.memory.ranking import LayerTrace, Ranking, RetrievalPolicy
from onlooker.engine.memory.stream_memory import Recall, StreamMemory
from onlooker.engine.memory.times import Now, time_asked

MIN_ROOM_TOKENS = 64
"""The fewest tokens that must be left for the system prompt, the question and the answer."""


class Probe(Protocol):
    """A function that runs a request which asks which of the candidates of `recall` the question
    wants or, with `traces`, for all scores of them; returns the request's report. `reads`: keys
    of segments that it looks into, as an earlier one has said."""

    async def __call__(
        self,
        memory: StreamMemory,
        question: Question,
        recall: Recall,
        *,
        traces: bool = False,
        reads: Sequence[str] = (),
    ) -> RequestReport: ...


def check_budgets(
    settings: MemorySection, max_model_len: int, max_clips: int, tokens_per_clip: int
) -> None:
    """Refuse a context whose clips and notes leave no room for a question.

    Raises:
        ConfigError: naming what to lower.
    """
    notes_tokens = settings.notes_tokens if settings.notes == "notes" else 0
    needed = max_clips * tokens_per_clip + notes_tokens + MIN_ROOM_TOKENS
    if needed > max_model_len:
        raise ConfigError(
            f"{max_clips} clips of {tokens_per_clip} tokens and {notes_tokens} tokens of notes "
            f"leave no room for a question in a context of {max_model_len} tokens: lower "
            "engine.memory.recent_clips, retrieved_clips or notes_tokens, or raise "
            "engine.vllm.max_model_len"
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """All scores of one question's candidates."""

    clip_indices: list[int]
    """Clip indices of the candidates, in time order."""
    layers: list[LayerTrace]


def retrieval_policy(settings: MemorySection, calibrated: Ranking | None) -> RetrievalPolicy:
    """How the workers choose: as the settings say, else as it was calibrated for the model."""
    policy = RetrievalPolicy(
        ranking=settings.ranking or calibrated or Ranking(),
        mass=settings.mass,
        gates=settings.recency_gate == "scores",
        scan_clips=settings.scan_clips,
    )
    return policy.model_copy(update={"probes": _always_asks(settings, policy)})


def _always_asks(settings: MemorySection, policy: RetrievalPolicy) -> bool:
    """Whether a short request always asks first which clips to bring back."""
    has_reason = policy.ranking.voting_layers is not None or policy.mass is not None or policy.gates
    return settings.retrieval == "probe" or (settings.retrieval == "auto" and has_reason)


def check_layers(ranking: Ranking, num_layers: int) -> None:
    """Refuse voting layers that the model does not have.

    Raises:
        ConfigError: naming the layer.
    """
    for layer in ranking.voting_layers or ():
        if layer >= num_layers:
            raise ConfigError(
                f"ranking.voting_layers names layer {layer}, and the model has {num_layers} "
                "(0 is the first): calibrate it again, or leave them out"
            )


class Recaller:
    """Finds out which clips answers see. One per engine.

    Args:
        recent_clips: the most clips of the recent window.
    """

    def __init__(
        self,
        settings: MemorySection,
        policy: RetrievalPolicy,
        *,
        recent_clips: int,
        probe: Probe,
    ) -> None:
        self._settings = settings
        self._recent_clips = recent_clips
        self._probe = probe
        self._always_asks = _always_asks(settings, policy)

    async def recall(
        self, memory: StreamMemory, question: Question, *, asks: bool = False
    ) -> Recall:
        """Which clips an answer to `question` sees.

        Args:
            asks: whether to ask the model first in any case, since what layers would choose by
                themselves may not be held ready.

        Raises:
            EngineFailed: the request that asks failed, for instance as a segment is gone.
        """
        recall = self._recalled(memory, question)
        if not recall.candidates:
            return recall
        asks = asks or self._always_asks
        if asks or (self._settings.retrieval == "auto" and not recall.is_one_size):
            report = await self._asked(memory, question, recall)
            return recall.chosen(report.picked[0], dict(report.read))
        return recall.of_one_size()

    async def trace(self, memory: StreamMemory, question: Question) -> Trace:
        """All scores, in every layer, of the clips that left the window."""
        recall = self._recalled(memory, question)
        report = await self._probe(memory, question, recall, traces=True)
        return Trace([clip.clip_index for clip in recall.candidates], report.traced)

    async def _asked(
        self, memory: StreamMemory, question: Question, recall: Recall
    ) -> RequestReport:
        """What a probe chooses; it is made again as long as it has to look into segments that are
        not held ready."""
        reads: list[str] = []
        report = await self._probe(memory, question, recall)
        while report.away:
            if report.away == reads:
                raise EngineFailed("a segment that the question is compared with is gone")
            reads = report.away
            report = await self._probe(memory, question, recall, reads=reads)
        return report

    def _recalled(self, memory: StreamMemory, question: Question) -> Recall:
        if question.newest_clips is not None:
            recent = memory.recent(question.newest_clips, until_s=question.asked_s)
            return Recall([], recent)
        now = Now.of(question, self._settings.zone)
        about = time_asked(question.text, now)
        if self._settings.recency_gate == "off":
            about = replace(about, is_only_now=False)
        return memory.recall(
            about,
            recent_clips=question.care.of(self._recent_clips),
            retrieved_clips=question.care.of(self._settings.retrieved_clips),
            recent_s=self._settings.recent_s,
        )

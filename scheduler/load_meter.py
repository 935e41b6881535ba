"""How much of what the engine can do is in use, from the steps that it runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.scheduler.config import SchedulerSection
from onlooker.scheduler.cost_model import CostTable, StepWork

CLIP_WEIGHT = 0.02
"""Weight of the newest clip in the mean work of clips."""

MAX_SEATS = 256
"""Gateways whose clips are told apart; with more, all begin anew."""


@dataclass(frozen=True, slots=True)
class SeatedClip:
    """What one clip has brought to a step."""

    work: StepWork
    seat: int = 0
    """Which of the gateways that share the engine it came from."""


CostedClip = tuple[float, float, float]
"""Mean tokens, bytes and encoder runs of a clip."""


def longest_step_s(section: SchedulerSection) -> float:
    """Seconds that a step of frames may take when they queue up."""
    return max(section.step_s, section.interactive.ttft_s / 4)


class LoadMeter:
    """Running means over the last seconds.

    An engine that always runs some step is not therefore full: most of a short step is its floor,
    and longer steps would carry more. So `load_ratio` counts the work itself, against what steps of
    the longest length would have room for.

    Args:
        longest_step_s: see the function of that name.
        memory_s: how many seconds back it looks.
    """

    def __init__(self, longest_step_s: float, now_s: float, *, memory_s: float = 2.0) -> None:
        self._longest_step_s = longest_step_s
        self._memory_s = memory_s
        self._ended_at_s = now_s
        self._questions_per_s = 0.0
        self._calm_s = 0.0
        self.busy_ratio = 0.0
        """Share of the time in which a step ran."""
        self.load_ratio = 0.0
        """Share in use of what the engine can do; 1 is all of it."""
        self.frames_ratio = 0.0
        """Part of `load_ratio` that clips make."""
        self.room_ratio = 1.0
        """Share of a step of full length that is left to work, beside its floor."""
        self._clip: CostedClip | None = None
        self._frames_of: dict[int, float] = {}
        """Part of `frames_ratio` that the clips of each gateway make."""

    def others_ratio(self, seat: int) -> float:
        """Part of `frames_ratio` that clips of other gateways make."""
        return sum(ratio for one, ratio in self._frames_of.items() if one != seat)

    @property
    def question_interval_s(self) -> float:
        """Seconds between two questions' starts while others wait; 0 when none had to of late."""
        return 1 / self._questions_per_s if self._questions_per_s else 0.0

    def note_questions(self, num_started: int, num_waiting: int, passed_s: float) -> None:
        """Note that a step of `passed_s` seconds has started `num_started` questions and left
        `num_waiting`.

        Places are what runs short when answers are long: costs of prefill alone do not show it.
        """
        if not num_waiting:
            self._calm_s += passed_s
            if self._calm_s > self._memory_s:
                self._questions_per_s = 0.0
            return
        self._calm_s = 0.0
        rate = num_started / max(1e-6, passed_s)
        if not self._questions_per_s:
            self._questions_per_s = rate
        weight = 1 - math.exp(-passed_s / self._memory_s)
        self._questions_per_s += weight * (rate - self._questions_per_s)

    def note(
        self,
        work: StepWork,
        took_s: float,
        costs: CostTable,
        now_s: float,
        clips: Sequence[SeatedClip] = (),
    ) -> None:
        """Note that a step of `work` has ended, of which `clips` is what each clip has brought."""
        passed_s = max(1e-9, now_s - self._ended_at_s)
        self._ended_at_s = now_s
        weight = 1 - math.exp(-passed_s / self._memory_s)
        self.busy_ratio += weight * (min(1.0, took_s / passed_s) - self.busy_ratio)
        whole_s, extra_s = costs.step_s(work), costs.extra_s(work)
        self.room_ratio = max(0.1, 1 - costs.floor_s / self._longest_step_s)
        load = min(2.0, took_s * extra_s / max(1e-9, whole_s) / passed_s / self.room_ratio)
        self.load_ratio += weight * (load - self.load_ratio)
        clips_s = {clip.seat: 0.0 for clip in clips}
        for clip in clips:
            clips_s[clip.seat] += costs.extra_s(clip.work)
            self._clip = _mean(self._clip, clip.work)
        sum_s = sum(clips_s.values())
        frames = load * min(1.0, sum_s / extra_s) if extra_s > 0 else 0.0
        self.frames_ratio += weight * (frames - self.frames_ratio)
        if len(self._frames_of) > MAX_SEATS:
            self._frames_of.clear()
        for seat in {*self._frames_of, *clips_s}:
            ratio = self._frames_of.get(seat, 0.0)
            share = clips_s.get(seat, 0.0) / sum_s if sum_s > 0 else 0.0
            self._frames_of[seat] = ratio + weight * (frames * share - ratio)

    def clip_s(self, costs: CostTable, typical: StepWork) -> float:
        """Predicted seconds that one clip adds; those of a `typical` one before the first."""
        if self._clip is None:
            return costs.extra_s(typical)
        tokens, loaded_bytes, encoded = self._clip
        return (
            costs.prefill_token_s * tokens
            + costs.loaded_byte_s * loaded_bytes
            + costs.encoder_clip_s * encoded
            + costs.request_s
        )

    def context_s(self, costs: CostTable) -> float:
        """Part of `clip_s` that goes into bringing back the clip's context."""
        return 0.0 if self._clip is None else costs.loaded_byte_s * self._clip[1]


def _mean(before: CostedClip | None, clip: StepWork) -> CostedClip:
    counts = clip.prefill_tokens, clip.loaded_bytes, clip.encoder_clips
    if before is None:
        return counts
    tokens, loaded_bytes, encoded = (
        mean + CLIP_WEIGHT * (count - mean) for mean, count in zip(before, counts, strict=True)
    )
    return tokens, loaded_bytes, encoded

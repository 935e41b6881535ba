"""What the gateway's one thread spends on frames, clips and questions.

How the kinds of work compare is given; how fast this machine does them is measured.
"""

import math

import msgspec


class GatewayWork(msgspec.Struct, frozen=True):
    """Work that the gateway's thread has done, in counts."""

    offered: int = 0
    looked: int = 0
    clips: int = 0
    questions: int = 0


OFFERED_S, LOOKED_S, CLIP_S, QUESTION_S = 1e-4, 6e-4, 1.6e-3, 6e-3
"""Seconds for a frame that comes in, one that is looked at, a clip and a question, on one core of a
server of 2023; only their ratios matter for long."""

MEMORY_S = 20.0
"""Seconds after which what was measured has lost most of its weight in the costs."""

LOAD_MEMORY_S = 2.0

BELIEF_S = 0.5
"""Seconds of work for which the costs above count before anything is measured."""

LEAST_FACTOR = 0.05

PLAUSIBLE_FACTOR = 5.0
"""Frames, clips and questions take at most so many times the costs above. What the thread spends
beyond that goes into something else, such as the messages of somebody who is refused all of them:
showing streams less would not make it less."""


class GatewayMeter:
    """Learns how much slower than the costs above this machine is, and how busy it is."""

    def __init__(self) -> None:
        self._expected_s = BELIEF_S
        self._spent_s = BELIEF_S
        self._rest = 0.0
        self.load_ratio = 0.0
        """Share of the gateway's thread that is in use, over the last seconds."""
        self.streams_ratio = 0.0
        """As much of `load_ratio` as streams and their questions can have made."""

    def note(self, work: GatewayWork, spent_s: float, passed_s: float) -> None:
        """Note that in `passed_s` the thread has done `work` and was busy for `spent_s`."""
        if passed_s <= 0 or spent_s < 0:
            return
        frames_s = OFFERED_S * work.offered + LOOKED_S * work.looked + CLIP_S * work.clips
        questions_s = QUESTION_S * work.questions
        keep = math.exp(-passed_s / MEMORY_S)
        expected_s = frames_s + questions_s
        streams_s = min(spent_s, PLAUSIBLE_FACTOR * expected_s)
        if expected_s > 0:
            self._expected_s = keep * self._expected_s + expected_s
            self._spent_s = keep * self._spent_s + streams_s
        weight = 1 - math.exp(-passed_s / LOAD_MEMORY_S)
        self.load_ratio += weight * (min(1.0, spent_s / passed_s) - self.load_ratio)
        self.streams_ratio += weight * (min(1.0, streams_s / passed_s) - self.streams_ratio)
        rest = self.factor * questions_s / passed_s
        self._rest += weight * (rest - self._rest)

    @property
    def factor(self) -> float:
        """How many times as long work takes on this machine as the costs above say."""
        return max(LEAST_FACTOR, self._spent_s / self._expected_s)

    @property
    def rest(self) -> float:
        """Share of the thread that goes into questions."""
        return min(1.0, self._rest)

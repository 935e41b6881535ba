"""How long one engine step may be, so that running answers do not stutter and questions get in.

The idea of stall-free batching is Sarathi-Serve's (OSDI '24): prefill fills what decoding leaves of
a budget. There the budget is a fixed number of tokens; here it is time, taken from the slack that
the running answers have, and turned into work by the learned costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.scheduler.job import Job

MOST_STRETCH = 2.0
"""One gap between tokens is never planned longer than so many times its target, whatever slack the
answer has saved up: a pause is seen even when the mean is kept."""

MARGIN = 0.9
"""Share of the decodes' slack that is planned with: predictions err."""

FLOORS = 3.0
"""While no answer runs, a step may last so many times an empty one, within half of the shortest
TTFT target: else a slow machine would spend most of its time on what each step costs anyway."""


@dataclass(frozen=True, slots=True)
class StepBudget:
    """Seconds that one step may take, by what is in it."""

    answers_s: float
    """Seconds before a running answer stutters, whatever else is in the step."""
    questions_s: float
    """Seconds with prefill of questions in the step."""
    frames_s: float
    """Seconds with several frames or lower requests in the step besides; at most `questions_s`."""

    @classmethod
    def of(
        cls,
        decoding: Sequence[Job],
        *,
        now_s: float,
        step_s: float,
        ttft_s: float,
        floor_s: float,
        backlog_s: float,
    ) -> "StepBudget":
        """The budget for a step that begins at `now_s`.

        Args:
            decoding: running answers, each with when its next token is due.
            step_s: seconds of a step that frames may fill when little waits.
            ttft_s: the shortest TTFT target: a question must get in within a part of it.
            floor_s: seconds of an empty step.
            backlog_s: predicted seconds of all frames that wait. One step takes in all of them
                where it may be so long: two would only pay its floor twice.
        """
        answers_s = math.inf
        for job in decoding:
            gap_s = min(job.due_at_s - now_s, MOST_STRETCH * job.ticket.tpot_s)
            answers_s = min(answers_s, MARGIN * gap_s)
        answers_s = max(0.0, answers_s)
        longest_s = max(step_s, ttft_s / 4)
        if not decoding:
            longest_s = max(longest_s, min(ttft_s / 2, FLOORS * floor_s))
        questions_s = min(answers_s, longest_s)
        return cls(answers_s, questions_s, min(questions_s, max(step_s, floor_s + backlog_s)))

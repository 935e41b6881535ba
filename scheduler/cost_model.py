"""What an engine step costs, learned from the steps that were run.

Recursive least squares with exponential forgetting (Haykin, Adaptive Filter Theory, ch. 10): the
time of a step is a floor plus so much for each unit of work. Coefficients follow the machine as it
changes; what the model gets wrong is measured on each step before it learns from it.
"""

import math
from dataclasses import dataclass, fields

Vector = list[float]


@dataclass(frozen=True, slots=True)
class StepWork:
    """The work of one engine step, or a part of it, in counts."""

    prefill_tokens: int = 0
    decode_tokens: int = 0
    loaded_bytes: int = 0
    """Bytes of KV that are brought back into the step's blocks."""
    batch_size: int = 0
    """The number of requests in the step."""
    encoder_clips: int = 0
    """Clips that run through the vision encoder."""

    def __add__(self, other: "StepWork") -> "StepWork":
        return StepWork(
            self.prefill_tokens + other.prefill_tokens,
            self.decode_tokens + other.decode_tokens,
            self.loaded_bytes + other.loaded_bytes,
            self.batch_size + other.batch_size,
            self.encoder_clips + other.encoder_clips,
        )


@dataclass(frozen=True, slots=True)
class CostTable:
    """Seconds of a step and of each unit of its work."""

    floor_s: float
    prefill_token_s: float
    decode_token_s: float
    loaded_byte_s: float
    request_s: float
    encoder_clip_s: float

    def step_s(self, work: StepWork) -> float:
        """Predicted seconds of a step."""
        return self.floor_s + self.extra_s(work)

    def extra_s(self, work: StepWork) -> float:
        """Predicted seconds that `work` adds to a step that is run anyway."""
        return (
            self.prefill_token_s * work.prefill_tokens
            + self.decode_token_s * work.decode_tokens
            + self.loaded_byte_s * work.loaded_bytes
            + self.request_s * work.batch_size
            + self.encoder_clip_s * work.encoder_clips
        )


PRIOR = CostTable(
    floor_s=0.005,
    prefill_token_s=1e-4,
    decode_token_s=5e-4,
    loaded_byte_s=1e-9,
    request_s=5e-4,
    encoder_clip_s=2e-3,
)
"""The costs that are believed before the first step; forgotten after a few dozen."""

SCALE = (1.0, 64.0, 8.0, 1e6, 4.0, 2.0)
"""Typical sizes of a step's features, in the order of `CostTable`, so that one prior uncertainty
fits them all."""

LEAST_STEP_S = 1e-5
MOST_UNCERTAIN = 1.0
"""The highest mean uncertainty per coefficient, which is that before the first step."""


class CostModel:
    """Learns a `CostTable` from measured steps.

    Args:
        prior: the costs that are believed before anything is measured.
        forgetting: weight of the past at each step (0-1); 0.998 remembers some 500 steps.
        outlier: a step longer than so many times its prediction counts as just so long: the machine
            was doing something else, such as warming up. A machine that is slower than all belief
            is believed after a few steps all the same.
    """

    def __init__(
        self, prior: CostTable = PRIOR, *, forgetting: float = 0.998, outlier: float = 4.0
    ) -> None:
        self._theta = [
            getattr(prior, field.name) * scale
            for field, scale in zip(fields(prior), SCALE, strict=True)
        ]
        size = len(self._theta)
        self._p = [[1.0 if i == j else 0.0 for j in range(size)] for i in range(size)]
        self._forgetting = forgetting
        self._outlier = outlier
        self._table = prior
        self.num_steps = 0
        self.error_ratio = 1.0
        """Running mean of |predicted - measured| / measured (0.5 is off by half)."""

    @property
    def table(self) -> CostTable:
        """The costs as believed now; none is negative."""
        return self._table

    def learn(self, work: StepWork, measured_s: float) -> None:
        """Take in a step that was run."""
        if not measured_s > 0 or math.isinf(measured_s):
            return
        predicted_s = max(LEAST_STEP_S, self._table.step_s(work))
        error = min(self._outlier, abs(predicted_s - measured_s) / measured_s)
        weight = max(0.02, 1 / (self.num_steps + 1))
        self.error_ratio += weight * (error - self.error_ratio)
        self.num_steps += 1
        self._update(_features(work), min(measured_s, self._outlier * predicted_s))

    def _update(self, x: Vector, measured_s: float) -> None:
        px = [sum(p * v for p, v in zip(row, x, strict=True)) for row in self._p]
        norm = self._forgetting + sum(v * w for v, w in zip(x, px, strict=True))
        gain = [value / norm for value in px]
        residual = measured_s - sum(t * v for t, v in zip(self._theta, x, strict=True))
        self._theta = [t + g * residual for t, g in zip(self._theta, gain, strict=True)]
        grown = [
            [(p - g * v) / self._forgetting for p, v in zip(row, px, strict=True)]
            for row, g in zip(self._p, gain, strict=True)
        ]
        # What is never exercised would grow more uncertain without end.
        trace = sum(row[i] for i, row in enumerate(grown))
        shrink = min(1.0, MOST_UNCERTAIN * len(x) / trace)
        self._p = [[value * shrink for value in row] for row in grown]
        theta = _nonnegative(self._theta, self._p)
        values = [t / scale for t, scale in zip(theta, SCALE, strict=True)]
        self._table = CostTable(*values)


def _nonnegative(theta: Vector, p: list[Vector]) -> Vector:
    """The likeliest costs of which none is negative. Where two kinds of work always come together,
    one may be found too high by as much as the other is negative: what is cut off the one goes to
    the other, as `p` says how they hang together (conditioning of a Gaussian)."""
    theta, p = list(theta), [list(row) for row in p]
    for _ in theta:
        worst = min(range(len(theta)), key=theta.__getitem__)
        if theta[worst] >= 0 or p[worst][worst] <= 0:
            break
        column = [row[worst] / p[worst][worst] for row in p]
        theta = [t - c * theta[worst] for t, c in zip(theta, column, strict=True)]
        p = [
            [value - c * pivot for value, pivot in zip(row, p[worst], strict=True)]
            for row, c in zip(p, column, strict=True)
        ]
        theta[worst] = 0.0
    return [max(0.0, t) for t in theta]


def _features(work: StepWork) -> Vector:
    counts = (
        1,
        work.prefill_tokens,
        work.decode_tokens,
        work.loaded_bytes,
        work.batch_size,
        work.encoder_clips,
    )
    return [count / scale for count, scale in zip(counts, SCALE, strict=True)]

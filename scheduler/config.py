"""Settings of scheduling."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from onlooker.core.settings import Section
from onlooker.scheduler.slo import Slo, Tier

Seconds = Annotated[float, Field(gt=0, le=3600)]
TierName = Literal["interactive", "standard", "background"]


class TierSection(Section):
    """Targets of one service tier."""

    ttft_s: Seconds = 1.0
    """Seconds from a question to its first token."""

    tpot_s: Seconds = 0.15
    """Seconds for each token after the first."""

    lag_s: Seconds = 3.0
    """Seconds from a frame's arrival until the model has seen it."""

    def slo(self) -> Slo:
        """The targets as the policy takes them."""
        return Slo(self.ttft_s, self.tpot_s, self.lag_s)


class InteractiveSection(TierSection):
    """Targets for somebody who waits in front of a screen."""

    ttft_s: Seconds = 0.5
    """Seconds from a question to its first token."""

    tpot_s: Seconds = 0.1
    """Seconds for each token after the first."""

    lag_s: Seconds = 2.0
    """Seconds from a frame's arrival until the model has seen it."""


class BackgroundSection(TierSection):
    """Targets for programs that can wait; degraded first."""

    ttft_s: Seconds = 10.0
    """Seconds from a question to its first token."""

    tpot_s: Seconds = 0.5
    """Seconds for each token after the first."""

    lag_s: Seconds = 10.0
    """Seconds from a frame's arrival until the model has seen it."""


class SchedulerSection(Section):
    """Who goes first, and what gives way when there is too much to do."""

    policy: Literal["slo", "fcfs"] = "slo"
    """``slo``: by class and slack, with admission and the quality ladder. ``fcfs``: vLLM's own
    order, nothing degraded, nothing refused but over the fixed limits."""

    interactive: InteractiveSection = InteractiveSection()
    """Targets for somebody who waits in front of a screen."""

    standard: TierSection = TierSection()
    """Targets for whoever does not choose a tier."""

    background: BackgroundSection = BackgroundSection()
    """Targets for programs that can wait; they are degraded first."""

    default_tier: TierName = "standard"
    """Tier of streams and questions that do not choose one."""

    step_s: float = Field(default=0.05, gt=0, le=60)
    """How long one engine step may be made by frames alone: a question that arrives meanwhile waits
    that long. When frames queue up it grows to a quarter of the shortest TTFT target; on a machine
    on which empty steps are long, to half of it while no answer runs."""

    ingest_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of engine time that frames keep under any number of questions."""

    check_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of engine time that triggers' checks keep."""

    background_share: float = Field(default=0.02, gt=0, lt=1)
    """Share of engine time that background work keeps."""

    target_load: float = Field(default=0.85, gt=0, lt=1)
    """Load, as a share of what the engine can do, at which quality is neither lowered nor raised.
    Quality falls above the middle between it and 1."""

    step_down_s: float = Field(default=1.0, gt=0, le=600)
    """Time between two steps down the quality ladder: the last one must have had time to work."""

    step_up_s: float = Field(default=8.0, gt=0, le=3600)
    """Calm time before quality is raised again; at least `step_down_s`."""

    refuse_after: float = Field(default=0.8, gt=0, le=100)
    """A question is refused when its first token is predicted later than so many times its TTFT
    target, and has less to look at from half of that on. Below 1, as predictions err."""

    @model_validator(mode="after")
    def _classes_agree(self) -> Self:
        for name in ("ttft_s", "tpot_s", "lag_s"):
            targets = [getattr(self.slo(tier), name) for tier in Tier]
            if sorted(targets) != targets:
                raise ValueError(
                    f"{name} contradicts the order of the tiers: interactive ({targets[0]}) <= "
                    f"standard ({targets[1]}) <= background ({targets[2]}) must hold"
                )
        shares = self.ingest_share + self.check_share + self.background_share
        if shares >= 1:
            raise ValueError(
                f"ingest_share, check_share and background_share sum to {shares:g}: they must "
                "leave some of the engine's time to questions (less than 1)"
            )
        if self.step_up_s < self.step_down_s:
            raise ValueError(
                f"step_up_s ({self.step_up_s:g}) is less than step_down_s ({self.step_down_s:g}): "
                "quality would swing"
            )
        if self.step_s > self.interactive.ttft_s:
            raise ValueError(
                f"step_s ({self.step_s:g}) is longer than interactive.ttft_s "
                f"({self.interactive.ttft_s:g}): no question could meet it"
            )
        return self

    def slo(self, tier: Tier | None = None) -> Slo:
        """The targets of a tier; None takes the default one."""
        section: TierSection = getattr(self, tier or self.default_tier)
        return section.slo()

    @property
    def most_rest(self) -> float:
        """Load that questions may bring as far as quality of frames is concerned: below their share
        of the engine frames need not give way."""
        return max(0.0, self.target_load - self.ingest_share)

"""Settings of questions that are answered from the diary."""

from pydantic import Field

from onlooker.core.settings import Section


class MomentsSection(Section):
    """Questions that need the past as a whole: when, how often, what happened. They are answered
    from the diary, whose candidates are checked against clips."""

    enabled: bool = True
    """Whether they are; else the model answers them from what its context holds."""

    budget_s: float = Field(default=5.0, ge=0, le=600)
    """Seconds for the checks of one question, where it names no budget of its own. On the virtual
    clock only `max_checks` bounds them."""

    sweeps: bool = False
    """Whether entries of the diary that do not name what is asked for are checked, too, where
    `max_checks` allows all of them: less is missed, since the diary may name but one of several
    things that change at once, and more is taken for it that is not. It needs a model whose checks
    hardly ever err, and `max_checks` of one and a half times the entries."""

    max_checks: int = Field(default=2000, ge=1, le=100_000)
    """Checks for one question at most."""

    max_parallel: int = Field(default=16, ge=1, le=1024)
    """Checks of one question that run at once."""

    max_moments: int = Field(default=200, ge=1, le=10_000)
    """Moments that one answer tells of."""

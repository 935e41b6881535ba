"""How remembered clips are ranked for a question. May be calibrated for a model."""

from typing import Literal, Self

from pydantic import Field, model_validator

from onlooker.core.settings import Section

ScoreName = Literal[
    "mean_key",
    "representatives",
    "page_mean",
    "late_interaction",
    "token_keys_8bit",
    "token_keys_1bit",
]

DEFAULT_SCAN = 4096
"""The most clips that are compared one by one where nothing else is said."""

LayerTrace = dict[ScoreName, list[float]]
"""What every score says of all candidates of a retrieval in one layer, in the order of the
candidates."""


class Ranking(Section):
    """Which score ranks clips, and in which layers. ``python -m onlooker.demo_model.calibrate``
    finds it for a model and keeps it in its ``onlooker.json``; the defaults are ReKV's."""

    score: ScoreName = "mean_key"
    """The score for which the index is made: ``mean_key`` (ReKV) keeps one entry for each layer of
    a clip; ``representatives`` (InfLLM) four; ``page_mean`` (LiveVLM) one for each 16 tokens;
    ``late_interaction`` (SAVEMem) every token, which is the finest, with an index of half the
    KV; ``token_keys_8bit`` and ``token_keys_1bit`` every token in few bits, which finds nearly the
    same, and with `voting_layers` in those layers only."""

    second_look: ScoreName | None = None
    """A finer score that takes a second look at the best clips by `score`. It reads their whole
    segments, wherever they lie."""

    shortlist_clips: int = Field(default=64, ge=2, le=4096)
    """How many clips the second look compares, at least; never fewer than can be shown."""

    voting_layers: tuple[int, ...] | None = None
    """Layers (from 0) whose scores are added up to one choice that all layers share. None: each
    layer chooses by itself, as ReKV does."""

    temperature: float = Field(default=1.0, gt=0, le=1000)
    """The number by which scores are divided before they count as log probabilities (see
    ``memory.mass``)."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.second_look == self.score:
            raise ValueError(f"second_look is the same score ('{self.score}'): leave it out")
        if self.voting_layers is not None:
            if not self.voting_layers:
                raise ValueError("voting_layers is empty: name a layer, or leave it out")
            if min(self.voting_layers) < 0 or len(set(self.voting_layers)) < len(
                self.voting_layers
            ):
                raise ValueError("voting_layers are different numbers from 0")
        return self


class RetrievalPolicy(Section):
    """How the scores of candidates become a choice. Handed to the model's workers."""

    ranking: Ranking = Ranking()
    mass: float | None = None
    """Probability that the chosen clips must reach together; see ``memory.mass``."""
    gates: bool = False
    """Whether a probe chooses nothing when the recent window matches as well."""
    probes: bool = False
    """Whether a probe always chooses: then only the layers that vote are ever asked, and the index
    keeps no others."""
    scan_clips: int = DEFAULT_SCAN
    """The most clips that are compared one by one; see ``memory.scan_clips``."""

    @property
    def index_layers(self) -> tuple[int, ...] | None:
        """The layers that the index keeps, ascending; None: all."""
        voters = self.ranking.voting_layers
        return tuple(sorted(voters)) if self.probes and voters is not None else None

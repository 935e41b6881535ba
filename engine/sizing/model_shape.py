"""`ModelShape`: the numbers of a model's config that decide what it costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onlooker.core.errors import ConfigError

_MATRICES_OF_GATED = 3
_MATRICES_OF_PLAIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionShape:
    """The vision tower."""

    layers: int
    hidden: int
    inner: int
    """Width between the two, or three, matrices of a layer's second half."""
    is_gated: bool
    patch: int
    """Pixels of a patch's side."""
    merge: int
    """Patches of a token's side."""
    mergers: int
    """Times that patches are merged to tokens: once, and once for each inner layer whose picture
    the language model is shown too."""

    @property
    def parameters(self) -> int:
        """Of its layers: its embedding of patches is small."""
        matrices = _MATRICES_OF_GATED if self.is_gated else _MATRICES_OF_PLAIN
        return self.layers * (4 * self.hidden**2 + matrices * self.hidden * self.inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model of one of the families that are served: a language model behind a vision tower."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    """Width of a layer's second half; of one expert where there are experts."""
    experts: int = 1
    active_experts: int = 1
    """Experts that one token goes through."""
    vocabulary: int
    is_tied: bool
    """Whether words that come in and go out share one matrix."""
    vision: VisionShape

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "ModelShape":
        """Read it from a model's ``config.json``.

        Raises:
            ConfigError: the config does not say what is needed.
        """
        text = config.get("text_config", config)
        try:
            vision = config["vision_config"]
            heads = int(text["num_attention_heads"])
            experts = int(text.get("num_experts", 1))
            return cls(
                layers=int(text["num_hidden_layers"]),
                hidden=int(text["hidden_size"]),
                heads=heads,
                kv_heads=int(text.get("num_key_value_heads", heads)),
                head_dim=int(text.get("head_dim") or text["hidden_size"] // heads),
                inner=int(text["moe_intermediate_size" if experts > 1 else "intermediate_size"]),
                experts=experts,
                active_experts=int(text.get("num_experts_per_tok", 1)) if experts > 1 else 1,
                vocabulary=int(text["vocab_size"]),
                is_tied=bool(
                    config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
                ),
                vision=VisionShape(
                    layers=int(vision["depth"]),
                    hidden=int(vision["hidden_size"]),
                    inner=int(vision.get("intermediate_size", 4 * int(vision["hidden_size"]))),
                    is_gated=vision.get("hidden_act") == "silu",
                    patch=int(vision["patch_size"]),
                    merge=int(vision["spatial_merge_size"]),
                    mergers=1 + len(vision.get("deepstack_visual_indexes") or ()),
                ),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ConfigError(
                f"the model's config.json does not say what a plan needs: {error!r}"
            ) from error

    @property
    def kv_values(self) -> int:
        """Numbers that the keys and values of one token are made of, in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    @property
    def parameters(self) -> int:
        """All that have to lie in memory."""
        words = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        merged = self.vision.hidden * self.vision.merge**2
        mergers = self.vision.mergers * merged * (merged + self.hidden)
        return self._layers_parameters(self.experts) + words + self.vision.parameters + mergers

    @property
    def active_parameters(self) -> int:
        """Those that one token of a context goes through; looking up a word takes none."""
        return self._layers_parameters(self.active_experts)

    def _layers_parameters(self, experts: int) -> int:
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        second = experts * _MATRICES_OF_GATED * self.hidden * self.inner
        router = self.hidden * self.experts if self.experts > 1 else 0
        return self.layers * (attention + second + router)
